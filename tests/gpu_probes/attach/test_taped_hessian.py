"""The Hessian of a probed script against its tape: kinks, half precision, backwards of its own."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import convlint
from convlint.gpu_probes.attach.taped_hessian import off_the_loss
from convlint.gpu_probes.tape import TapeRecorder


class Swish(torch.autograd.Function):
    """x σ(x), differentiable twice."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        s = torch.sigmoid(x)
        return gradient * (s + x * s * (1.0 - s))


class SwishOnce(Swish):
    """The same, differentiable once."""

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return Swish.backward(ctx, gradient)


class SquareWithoutSlope(torch.autograd.Function):
    """x² whose backward keeps its slope as a plain value."""

    @staticmethod
    def forward(ctx, x):
        ctx.slope = 2.0 * x.detach()
        return x**2

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.slope


class Quarters(torch.autograd.Function):
    """Rounds, straight through."""

    @staticmethod
    def forward(ctx, x):
        return (4.0 * torch.tanh(x)).round() / 4.0

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class Perceptron(nn.Module):
    """One hidden layer with a custom Function."""

    def __init__(self, function: type[torch.autograd.Function]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(8, 32), nn.Linear(32, 3)
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.function.apply(self.first(x)))


def probed(function: type[torch.autograd.Function]) -> convlint.Observations:
    return measured(Perceptron(function), F.cross_entropy)


def measured(
    model: nn.Module, loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
) -> convlint.Observations:
    generator = torch.Generator().manual_seed(1)
    batches = []
    for _ in range(6):
        x = torch.randn(32, 8, generator=generator)
        batches.append((x, x[:, :3].argmax(1)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return convlint.probe(
        model, loss, batches, optimizer, steps=3, hold=2, tier="standard", budget=60
    )


def test_a_sound_function_agrees_with_differences_of_the_loss():
    seen = probed(Swish)
    assert {c.phase for c in seen.curvature} == {"start", "end"}
    for curvature in seen.curvature:
        assert curvature.method == "double backward on the loss"
        assert curvature.parameters == 8 * 32 + 32 + 32 * 3 + 3
        # Rounding of float32 against second differences in float64.
        assert curvature.consistency is not None
        assert curvature.consistency < 1e-3


@pytest.mark.parametrize("function", [SquareWithoutSlope, Quarters])
def test_a_function_whose_hessian_is_not_that_of_the_loss_is_found(function):
    curvatures = probed(function).curvature
    assert curvatures
    assert all(c.consistency is not None and c.consistency > 1e-2 for c in curvatures)


def test_a_function_that_can_be_differentiated_once_has_no_curvature_of_the_rest():
    seen = probed(SwishOnce)
    assert seen.curvature == ()
    reasons = {s.measurement: s.reason for s in seen.skipped}
    assert "no second derivative: SwishOnce" in reasons["curvature at the start"]


class Rectified(nn.Module):
    """Two hidden layers of ReLU, in bfloat16 if asked to."""

    def __init__(self, half: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3)
        )
        self.half = half

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            return self.layers(x)


def off(half: bool, loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> float | None:
    model, generator = Rectified(half), torch.Generator().manual_seed(1)
    x, y = torch.randn(32, 8, generator=generator), torch.arange(32) % 3
    recorder = TapeRecorder()
    with recorder:
        value = loss(model(x).float(), y)
    parameters, later = list(model.parameters()), time.monotonic() + 60.0
    return off_the_loss(recorder.finish(value), value, parameters, 1.0, deadline=later)


@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
def test_a_network_of_relu_is_checked_where_kinks_and_rounding_do_not_decide(half):
    seen = off(half, F.cross_entropy)
    assert seen is not None
    assert seen < 1e-6


@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
def test_a_target_of_the_networks_own_without_gradient_is_found(half):
    def semi_gradient(output: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            target = 1.0 + 0.95 * output.roll(1, 0).amax(1)
        return F.mse_loss(output.gather(1, action[:, None])[:, 0], target)

    seen = off(half, semi_gradient)
    assert seen is not None
    assert seen > 1e-2


def test_a_probe_checks_in_double_what_kinks_hide_from_single_precision():
    start, end = measured(Rectified(), F.cross_entropy).curvature
    # Closer than differences of float32 gradients, 2e-5 at best, could come.
    assert start.consistency is not None and start.consistency < 1e-6
    assert end.consistency is not None and end.consistency < 1e-3


def test_without_time_or_memory_for_a_replay_nothing_is_said(monkeypatch):
    model = Rectified()
    x, y = torch.randn(16, 8), torch.randint(0, 3, (16,))
    recorder = TapeRecorder()
    with recorder:
        loss = F.cross_entropy(model(x), y)
    tape, parameters = recorder.finish(loss), list(model.parameters())
    seen = off_the_loss(tape, loss, parameters, 1.0, deadline=time.monotonic() + 60.0)
    assert seen is not None and seen < 1e-3
    assert off_the_loss(tape, loss, parameters, 1.0, deadline=time.monotonic()) is None

    def exhausted(*_arguments, **_keywords):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(type(tape), "gradients", exhausted)
    later = time.monotonic() + 60.0
    assert off_the_loss(tape, loss, parameters, 1.0, deadline=later) is None
