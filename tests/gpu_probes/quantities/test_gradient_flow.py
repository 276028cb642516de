"""Gradient flow of deep random networks against theory (PROBES.md M1)."""

from __future__ import annotations

import itertools
import math
from statistics import mean
from typing import TYPE_CHECKING

import pytest
import torch

from convlint.gpu_probes.quantities.gradient_flow import GradientFlowRecorder
from convlint.gpu_probes.quantities.parameters import WeightScale

if TYPE_CHECKING:
    from collections.abc import Callable

    from convlint.gpu_probes.observations import GradientFlow

WIDTH, DEPTH, BATCH, DRAWS = 256, 20, 64, 3


def identity(x: torch.Tensor) -> torch.Tensor:
    return x


def flow(
    scale: float, activation: Callable[[torch.Tensor], torch.Tensor], seed: int
) -> GradientFlow:
    """Flow through y = W_L f(W_{L-1} ... f(W_1 x)), entries of W normal with variance s^2 / n."""
    generator = torch.Generator().manual_seed(seed)
    recorder = GradientFlowRecorder()
    hidden = torch.randn(BATCH, WIDTH, generator=generator)
    for layer in range(DEPTH):
        weight = torch.randn(WIDTH, WIDTH, generator=generator) * scale / math.sqrt(WIDTH)
        output = hidden @ weight.requires_grad_().T
        recorder.forward(str(layer), "Linear", layer, output, None)
        hidden = activation(output) if layer < DEPTH - 1 else output
    (hidden * torch.randn(BATCH, WIDTH, generator=generator)).sum().backward()
    return recorder.results("model", {})


@pytest.mark.parametrize(
    ("scale", "activation", "expected"),
    [
        (0.8, identity, math.log(0.8)),
        (1.25, identity, math.log(1.25)),
        (1.0, torch.relu, 0.5 * math.log(0.5)),
        (math.sqrt(2), torch.relu, 0.0),
        (1.0, torch.tanh, -0.057),
        (1.0, torch.sigmoid, -1.448),
    ],
)
def test_slope_of_deep_networks(
    scale: float, activation: Callable[[torch.Tensor], torch.Tensor], expected: float
) -> None:
    slopes = [flow(scale, activation, seed).slope.value for seed in range(DRAWS)]
    # Width 256 scatters a single draw by 0.015; three are averaged.
    assert mean(slope for slope in slopes if slope is not None) == pytest.approx(expected, abs=0.02)


def test_the_interval_holds_the_slope_of_a_linear_network() -> None:
    slope = flow(0.8, identity, 1).slope
    assert slope.ci is not None
    assert slope.value is not None
    assert slope.ci[0] < slope.value < slope.ci[1]
    assert slope.n == DEPTH
    assert slope.ci[1] - slope.ci[0] < 0.02


def test_end_to_end_of_a_shrinking_network() -> None:
    end_to_end = flow(0.8, identity, 0).end_to_end
    assert end_to_end.value == pytest.approx(0.8 ** (DEPTH - 1), rel=0.1)


def test_forward_signal_grows_with_the_gain() -> None:
    forward = flow(1.25, identity, 0).forward_end_to_end
    assert forward is not None
    assert forward.value == pytest.approx(1.25 ** (DEPTH - 1), rel=0.1)


def test_changing_widths_do_not_tilt_the_slope() -> None:
    generator = torch.Generator().manual_seed(0)
    widths = [512, 256, 128, 256, 512, 1024]
    recorder = GradientFlowRecorder()
    hidden = torch.randn(512, widths[0], generator=generator)
    for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
        weight = torch.randn(fan_out, fan_in, generator=generator) / math.sqrt(fan_in)
        hidden = hidden @ weight.requires_grad_().T
        recorder.forward(str(layer), "Linear", layer, hidden, None)
    (hidden * torch.randn(hidden.shape, generator=generator)).sum().backward()
    slope = recorder.results("model", {}).slope.value
    assert slope == pytest.approx(0.0, abs=0.05)


def test_layers_report_signal_and_gradient() -> None:
    recorder = GradientFlowRecorder()
    output = torch.full((2, 2), 3.0, requires_grad=True)
    recorder.forward("fc", "Linear", 0, output, None)
    (output * 5).sum().backward()
    result = recorder.results("model", {"fc": WeightScale(0.5, 0.25)})
    (layer,) = result.layers
    assert layer.output_rms == pytest.approx(3.0)
    assert layer.output_grad_rms == pytest.approx(5.0)
    assert (layer.weight_rms, layer.weight_grad_rms) == (0.5, 0.25)


def test_short_chains_have_no_slope() -> None:
    recorder = GradientFlowRecorder()
    hidden = torch.ones(2, 3, requires_grad=True)
    for layer in range(3):
        hidden = hidden * 2
        recorder.forward(str(layer), "Linear", layer, hidden, None)
    hidden.sum().backward()
    result = recorder.results("model", {})
    assert result.slope.value is None
    assert "fewer than 4" in result.slope.note
    assert result.end_to_end.value == pytest.approx(4.0)


def test_normalisation_layers_are_no_chain() -> None:
    recorder = GradientFlowRecorder()
    hidden = torch.ones(2, 3, requires_grad=True)
    for layer in range(6):
        hidden = hidden * 2
        cls = "Conv2d" if layer == 3 else "BatchNorm2d"
        recorder.forward(str(layer), cls, layer, hidden, None)
    hidden.sum().backward()
    assert recorder.results("model", {}).slope.n == 1


def test_a_closed_recorder_reads_no_further_gradients() -> None:
    recorder = GradientFlowRecorder()
    output = torch.ones(2, 2, requires_grad=True) * 1.0
    recorder.forward("fc", "Linear", 0, output, None)
    output.sum().backward(retain_graph=True)
    recorder.active = False
    (output * 100).sum().backward()
    (layer,) = recorder.results("model", {}).layers
    assert layer.output_grad_rms == pytest.approx(1.0)


def test_gradients_of_the_parameters_are_bit_identical_with_the_recorder() -> None:
    def gradients(watched: bool) -> list[torch.Tensor]:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
        recorder = GradientFlowRecorder()
        hidden = torch.randn(16, 8)
        for index, module in enumerate(model):
            hidden = module(hidden)
            if watched:
                recorder.forward(str(index), type(module).__name__, index, hidden, None)
        hidden.square().mean().backward()
        return [p.grad for p in model.parameters() if p.grad is not None]

    assert all(map(torch.equal, gradients(watched=True), gradients(watched=False)))
