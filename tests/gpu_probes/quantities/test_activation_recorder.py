"""Dead and saturated units, against closed forms."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

import pytest
import torch
from torch.nn import functional

from convlint.gpu_probes.quantities.activation_derivatives import DERIVATIVES
from convlint.gpu_probes.quantities.activations import ActivationRecorder

if TYPE_CHECKING:
    from collections.abc import Callable

    from convlint.gpu_probes.observations import Activation

FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softsign": functional.softsign,
    "softplus": functional.softplus,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "mish": functional.mish,
    "elu": functional.elu,
    "selu": functional.selu,
    "hardswish": functional.hardswish,
    "hardsigmoid": functional.hardsigmoid,
    "hardtanh": functional.hardtanh,
}


def seen(
    kind: str,
    tensor_in: torch.Tensor | None,
    *outputs: torch.Tensor,
    dim: int | None = None,
) -> Activation:
    recorder = ActivationRecorder()
    for output in outputs:
        recorder.observe("layer", "Layer", kind, 1, tensor_in, output, None, dim=dim)
    (result,) = recorder.results()
    return result


@pytest.mark.parametrize("kind", sorted(DERIVATIVES))
def test_derivatives_equal_autograd_and_their_largest_is_right(kind: str) -> None:
    x = torch.linspace(-9.05, 9.07, 8001, dtype=torch.float64, requires_grad=True)
    y = FUNCTIONS[kind](x)
    (expected,) = torch.autograd.grad(y.sum(), x)
    derivative = DERIVATIVES[kind]
    values = (y if derivative.from_output else x).detach()
    # torch multiplies by 1 / 6 in float32 for its hard functions.
    torch.testing.assert_close(derivative.of(values), expected, rtol=1e-7, atol=1e-8)
    # The grid is 0.002 wide, and a softplus slope reaches 1 - 1e-4 at its end.
    assert expected.abs().max().item() == pytest.approx(derivative.largest, rel=2e-3)


def test_relu_far_below_zero_is_dead_and_around_zero_is_not() -> None:
    x = torch.randn(1000, 50, generator=torch.Generator().manual_seed(0))
    assert seen("relu", None, torch.relu(x - 10)).dead_fraction == 1.0
    assert seen("relu", None, torch.relu(x)).dead_fraction == 0.0


def test_a_unit_is_dead_only_when_it_is_in_every_batch() -> None:
    first, second = torch.zeros(4, 3), torch.zeros(4, 3)
    first[0, 0] = 1.0
    second[2, 1] = 1.0
    result = seen("relu", None, first, second)
    assert result.dead_fraction == pytest.approx(1 / 3)
    assert (result.units, result.samples) == (3, 8)


def test_the_units_of_a_map_are_its_channels() -> None:
    maps = torch.zeros(2, 4, 3, 3)
    maps[1, 2, 0, 1] = 1.0
    result = seen("relu", None, maps)
    assert (result.units, result.samples) == (4, 18)
    assert result.dead_fraction == 0.75


@pytest.mark.parametrize(("kind", "function"), [("tanh", torch.tanh), ("sigmoid", torch.sigmoid)])
def test_units_beyond_the_knee_are_saturated(
    kind: str, function: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    knee = {"tanh": 2.18, "sigmoid": 4.36}[kind]
    levels = torch.tensor([0.0, knee - 0.02, knee + 0.02, -knee - 0.02])
    result = seen(kind, None, function(levels.expand(10, 4)))
    assert result.saturated_fraction == 0.5


def test_the_share_of_saturated_tanh_units_follows_the_normal_law() -> None:
    generator = torch.Generator().manual_seed(0)
    x = 5 * torch.randn(1, 100_000, generator=generator, dtype=torch.float64)
    result = seen("tanh", None, torch.tanh(x))
    expected = 2 * NormalDist().cdf(-2.18 / 5)
    # 100,000 units: three standard errors are 0.0045.
    assert result.saturated_fraction == pytest.approx(expected, abs=0.01)
    assert expected == pytest.approx(0.663, abs=1e-3)


def test_gelu_needs_its_input_and_says_nothing_without() -> None:
    x = torch.full((8, 4), -6.0)
    assert seen("gelu", x, functional.gelu(x)).saturated_fraction == 1.0
    assert seen("gelu", None, functional.gelu(x)).saturated_fraction is None


def test_an_input_overwritten_in_place_is_not_read() -> None:
    x = torch.full((8, 4), -6.0)
    functional.silu(x, inplace=True)
    assert seen("silu", x, x).saturated_fraction is None


def test_softmax_rows_are_saturated_like_a_sigmoid() -> None:
    # 4 p (1 - p) < 0.05 from p = 0.98734 on.
    p = torch.tensor([0.5, 0.987, 0.988, 0.9999])
    result = seen("softmax", None, torch.stack([p, 1 - p], dim=1))
    assert result.saturated_fraction == 0.5
    assert result.dead_fraction is None


def test_a_causal_mask_does_not_saturate_its_first_row() -> None:
    scores = torch.zeros(2, 6, 6).masked_fill(torch.ones(6, 6).triu(1).bool(), -math.inf)
    assert seen("softmax", scores, scores.softmax(-1)).saturated_fraction == 0.0


def test_softmax_over_channels_takes_its_dimension() -> None:
    scores = torch.zeros(2, 5, 3, 3)
    scores[:, 1] = 50.0
    result = seen("softmax", scores, scores.softmax(1), dim=1)
    assert result.saturated_fraction == 1.0
    assert result.samples == 18


def test_mean_rms_and_non_finite() -> None:
    result = seen("relu", None, torch.tensor([[3.0, 0.0, math.nan], [0.0, 0.0, math.inf]]))
    assert result.non_finite == 2
    assert result.mean == pytest.approx(0.75)
    assert result.rms == pytest.approx(1.5)


def test_leaky_relu_is_never_called_dead() -> None:
    result = seen("leaky_relu", None, functional.leaky_relu(torch.full((4, 4), -3.0)))
    assert result.dead_fraction is None
    assert result.saturated_fraction is None


def test_varying_unit_counts_leave_units_unjudged() -> None:
    result = seen("relu", None, torch.zeros(2, 5), torch.zeros(2, 6))
    assert result.dead_fraction is None
    assert result.mean == 0
