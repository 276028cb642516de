"""Products by differences: as accurate as theory has it, and what they find of odd gradients."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from convlint.gpu_probes.curvature.choice import usable_hessian
from convlint.gpu_probes.curvature.consistency import (
    LOSS_STEP,
    DoubleDifferences,
    difference_from_losses,
)
from convlint.gpu_probes.curvature.differences import (
    FLOAT64_STEP,
    KINK_AGREEMENT,
    DifferencedHessian,
    difference_from_finite_differences,
    why_no_hessian,
)
from convlint.gpu_probes.curvature.operator import CurvatureUnavailable, RetainedGraphHessian
from convlint.gpu_probes.tape import Change, Tape, TapeRecorder

TRUSTED = 1e-2
"""Rules believe a Hessian that differs by less."""

Loss = Callable[[], torch.Tensor]


@pytest.fixture(scope="module")
def million():
    """A perceptron of 1.36 million parameters whose norm is 26.5, in float64, and its batch."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(256, 1024), nn.Tanh(), nn.Linear(1024, 1024), nn.Tanh(), nn.Linear(1024, 48)
    ).double()
    squares = sum(float(p.detach().square().sum()) for p in model.parameters())
    assert squares**0.5 == pytest.approx(26.5, rel=0.01)
    return model, torch.randn(16, 256, dtype=torch.float64), torch.randint(0, 48, (16,))


def error_of_differences(million, dtype: torch.dtype, shrink: float) -> float:
    model, x, y = million
    parameters = list(model.parameters())
    exact = RetainedGraphHessian(F.cross_entropy(model(x), y), parameters)
    generator = torch.Generator().manual_seed(1)
    direction = torch.randn(exact.dimension, generator=generator, dtype=torch.float64)
    direction /= direction.norm()
    expected = exact(direction)
    replica = copy.deepcopy(model).to(dtype)
    differences = DifferencedHessian(
        lambda: F.cross_entropy(replica(x.to(dtype)), y), list(replica.parameters())
    )
    found = differences.difference(direction.to(dtype), shrink=shrink).double()
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize(
    ("dtype", "best"), [(torch.float64, (1e-10, 1e-8)), (torch.float32, (2e-5, 9e-4))]
)
def test_the_step_is_near_the_best_for_its_precision(million, dtype, best):
    """1e-6 of the parameters' norm in float64, 3e-4 in float32."""
    lowest, highest = best
    assert lowest <= error_of_differences(million, dtype, 1.0) <= highest
    # A hundredth is rounding error, a thousandfold is truncation error.
    assert error_of_differences(million, dtype, 0.01) > highest
    assert error_of_differences(million, dtype, 1000.0) > highest


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_never_differenced(dtype):
    weight = torch.ones(3, dtype=dtype, requires_grad=True)
    with pytest.raises(CurvatureUnavailable, match="half-precision"):
        DifferencedHessian(lambda: (weight**2).sum().float(), [weight])


def test_all_three_operators_agree_and_keep_the_dropout_mask():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 32), nn.Tanh(), nn.Dropout(0.3), nn.Linear(32, 4))
    x, y = torch.randn(32, 12), torch.randint(0, 4, (32,))
    recorder = TapeRecorder()
    with recorder:
        loss = F.cross_entropy(model(x), y)
    tape, parameters = recorder.finish(loss), list(model.parameters())
    retained = RetainedGraphHessian(loss, parameters)
    replayed = RetainedGraphHessian(
        tape.loss(change=Change(dtype=torch.float64, twice_differentiable=True)), parameters
    )
    differenced = DifferencedHessian(tape.loss, parameters)
    direction = torch.randn(retained.dimension, generator=torch.Generator().manual_seed(1))
    exact = replayed(direction)
    assert torch.equal(retained(direction), retained(direction))
    assert torch.equal(replayed(direction), exact)
    # Rounding of float32; and what differences of float32 gradients are good for.
    assert float((retained(direction) - exact).norm() / exact.norm()) < 1e-6
    assert float((differenced(direction) - exact).norm() / exact.norm()) < 9e-4
    with torch.no_grad():
        without = F.cross_entropy(model.eval()(x), y)
    assert not torch.isclose(without, loss)


@pytest.mark.parametrize(
    ("jump", "agrees"), [(0.8 * KINK_AGREEMENT, True), (1.2 * KINK_AGREEMENT, False)]
)
def test_a_kink_within_the_step_decides_when_it_moves_the_difference_by_five_percent(jump, agrees):
    theta = torch.ones(1, dtype=torch.float64, requires_grad=True)
    edge = 1.0 + 0.5 * FLOAT64_STEP

    def loss() -> torch.Tensor:
        # Half of the step ahead lies beyond the edge, where the slope rises by 4 · jump.
        beyond = torch.relu(theta - edge)
        return 0.5 * (theta**2).sum() + 0.5 * 4.0 * jump * (beyond**2).sum()

    hessian, differences = (
        RetainedGraphHessian(loss(), [theta]),
        DifferencedHessian(loss, [theta]),
    )
    seen = difference_from_finite_differences(hessian, differences)
    assert (seen is not None) is agrees
    assert (why_no_hessian(differences) == "") is agrees
    # The smaller step does not reach the edge.
    assert seen is None or seen == pytest.approx(0.0, abs=1e-8)


class DetachedCube(torch.autograd.Function):
    """A cube whose backward keeps its slope as a plain value."""

    @staticmethod
    def forward(ctx, x):
        ctx.slope = 3.0 * x.detach() ** 2
        return x**3

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.slope


class StraightThroughRound(torch.autograd.Function):
    """Rounds to eighths and passes the gradient as if it had not."""

    @staticmethod
    def forward(ctx, x):
        return (8.0 * x).round() / 8.0

    @staticmethod
    def backward(ctx, gradient):
        return gradient


def detached_cube() -> tuple[Loss, torch.Tensor]:
    """Curvature 6θ that autograd does not see, beside 12 that it does: 6 / 18 are missing."""
    theta = torch.ones(1, dtype=torch.float64, requires_grad=True)
    return lambda: (DetachedCube.apply(theta) + 6.0 * theta**2).sum(), theta


def straight_through() -> tuple[Loss, torch.Tensor]:
    """(q(θ) − 2)² / 2 has curvature 1 to autograd and none in truth, beside 1 / 0.35."""
    theta = torch.full((1,), 0.3, dtype=torch.float64, requires_grad=True)

    def loss() -> torch.Tensor:
        rounded = StraightThroughRound.apply(theta)
        return (0.5 * (rounded - 2.0) ** 2 + 0.5 / 0.35 * theta**2).sum()

    return loss, theta


def bootstrapped() -> tuple[Loss, torch.Tensor]:
    """Values θ and 2θ of two states, the second the target of the first without gradient.

    Tsitsiklis and Van Roy 1997: the step along −g drives θ away, the "Hessian" is +1 and the
    derivative of g is −1.
    """
    theta = torch.ones(1, dtype=torch.float64, requires_grad=True)

    def loss() -> torch.Tensor:
        with torch.no_grad():
            target = 2.0 * theta
        return (0.5 * (theta - target) ** 2).sum()

    return loss, theta


@pytest.mark.parametrize(
    ("make", "expected"),
    [(detached_cube, 1.0 / 3.0), (straight_through, 0.35), (bootstrapped, 2.0)],
    ids=["detached save", "straight-through", "bootstrapped target"],
)
def test_gradients_of_nothing_differ_by_what_their_formula_says(make, expected):
    loss, theta = make()
    hessian, differences = RetainedGraphHessian(loss(), [theta]), DifferencedHessian(loss, [theta])
    seen = difference_from_finite_differences(hessian, differences)
    # Differences in float64 are good to 1e-8.
    assert seen == pytest.approx(expected, rel=1e-6)


def test_the_replay_of_a_step_tells_its_bootstrapped_target():
    loss, theta = bootstrapped()
    recorder = TapeRecorder()
    with recorder:
        value = loss()
    differences = DifferencedHessian(recorder.finish(value).loss, [theta])
    hessian = RetainedGraphHessian(value, [theta])
    assert difference_from_finite_differences(hessian, differences) == pytest.approx(2.0)


class DetachedTanh(torch.autograd.Function):
    """tanh whose backward keeps its slope as a plain value."""

    @staticmethod
    def forward(ctx, x):
        y = x.tanh()
        ctx.slope = 1.0 - y.detach() ** 2
        return y

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.slope


def values_of_next_states(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        target = 1.0 + 0.95 * model(x.roll(1, 0)).amax(1)
    return F.mse_loss(model(x).gather(1, y[:, None])[:, 0], target)


PERCEPTRONS = {
    "detached save": (DetachedTanh.apply, F.cross_entropy),
    "straight-through": (lambda x: StraightThroughRound.apply(torch.tanh(x)), F.cross_entropy),
    "bootstrapped target": (torch.tanh, values_of_next_states),
}


class Perceptron(nn.Module):
    """One hidden layer with the given activation."""

    def __init__(self, activation: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(12, 32), nn.Linear(32, 4)
        self.activation = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.activation(self.first(x)))


def perceptron_with(activation, loss_of) -> tuple[Loss, list[nn.Parameter]]:
    model = Perceptron(activation).double()
    x, y = torch.randn(64, 12, dtype=torch.float64), torch.randint(0, 4, (64,))
    if loss_of is F.cross_entropy:
        return lambda: F.cross_entropy(model(x), y), list(model.parameters())
    return lambda: loss_of(model, x, y), list(model.parameters())


@pytest.mark.parametrize("case", PERCEPTRONS)
def test_a_perceptron_with_such_a_gradient_is_found_though_its_hessian_is_symmetric(case):
    loss, parameters = perceptron_with(*PERCEPTRONS[case])
    hessian = RetainedGraphHessian(loss(), parameters)
    seen = difference_from_finite_differences(hessian, DifferencedHessian(loss, parameters))
    # How much depends on the network; a healthy one has 1e-10.
    assert seen is not None
    assert seen > 3.0 * TRUSTED
    generator = torch.Generator().manual_seed(2)
    for _ in range(4):
        u, v = torch.randn(2, hessian.dimension, generator=generator, dtype=torch.float64)
        u, v = u / u.norm(), v / v.norm()
        along, back = hessian(v), hessian(u)
        # Two sums of 500 products in other orders: symmetry says nothing of it.
        assert abs(float(u @ along - v @ back)) <= 1e-16 * max(1.0, float(along.norm()))


def test_a_healthy_perceptron_agrees_to_the_error_of_differences():
    loss, parameters = perceptron_with(torch.tanh, F.cross_entropy)
    hessian = RetainedGraphHessian(loss(), parameters)
    seen = difference_from_finite_differences(hessian, DifferencedHessian(loss, parameters))
    assert seen is not None
    assert seen < 1e-8


def test_differences_of_a_gradient_of_nothing_are_no_hessian():
    """Without autograd's word to compare with, that their matrix is not symmetric tells."""
    for case in ("straight-through", "bootstrapped target"):
        differences = DifferencedHessian(*perceptron_with(*PERCEPTRONS[case]))
        assert "not the derivative" in why_no_hessian(differences)
    # What a detached value costs is in autograd's second derivatives alone.
    for activation in (DetachedTanh.apply, torch.tanh):
        healthy = DifferencedHessian(*perceptron_with(activation, F.cross_entropy))
        assert why_no_hessian(healthy) == ""


class RoundOnce(StraightThroughRound):
    """The same with a backward that cannot be differentiated."""

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return gradient


def test_where_differences_are_the_last_resort_such_a_gradient_has_no_curvature():
    loss, parameters = perceptron_with(lambda x: RoundOnce.apply(torch.tanh(x)), F.cross_entropy)
    with pytest.raises(CurvatureUnavailable, match="not the derivative of any loss"):
        usable_hessian(loss(), parameters, 1.0, loss, loss, ())


def around(loss: Loss, parameters: list[torch.Tensor]) -> Callable[[torch.Tensor], float]:
    evaluator = DifferencedHessian(loss, parameters)
    return lambda away: evaluator.loss_along(away, torch.zeros_like(away), 1.0, 0.0)


@pytest.mark.parametrize(
    ("make", "expected"),
    # Of the second, the rounded part has the slope 0.25 - 2 to autograd and none in truth, beside
    # the 0.3 / 0.35 of the rest.
    [(detached_cube, 1.0 / 3.0), (straight_through, 1.75 / (0.3 / 0.35))],
    ids=["detached save", "straight-through"],
)
def test_losses_alone_tell_as_much(make, expected):
    loss, theta = make()
    seen = difference_from_losses(RetainedGraphHessian(loss(), [theta]), around(loss, [theta]))
    # Second differences are good to four digits, and their truncation is nothing for a cube.
    assert seen == pytest.approx(expected, rel=1e-4)


def test_losses_alone_agree_with_a_healthy_hessian():
    loss, parameters = perceptron_with(torch.tanh, F.cross_entropy)
    hessian = RetainedGraphHessian(loss(), parameters)
    seen = difference_from_losses(hessian, around(loss, parameters))
    # vᵀHv to five digits along the gradient, and to three and more along random directions.
    assert seen is not None
    assert seen < 0.1 * TRUSTED


def test_kinks_leave_the_first_derivative_alone_to_be_compared():
    theta = torch.ones(1, dtype=torch.float64, requires_grad=True)

    def loss() -> torch.Tensor:
        # The kink is small to the slope and all there is to the second difference.
        return (theta**2 + 1e-4 * torch.relu(theta - 1.0 - 0.5 * LOSS_STEP)).sum()

    hessian = RetainedGraphHessian(loss(), [theta])
    assert difference_from_losses(hessian, around(loss, [theta])) < 1e-4


def test_short_steps_in_double_find_what_kinks_hide_from_single_precision():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 5)
    )
    x, y, parameters = torch.randn(64, 20), torch.randint(0, 5, (64,)), list(model.parameters())

    def loss() -> torch.Tensor:
        return F.cross_entropy(model(x), y)

    def semi_gradient() -> torch.Tensor:
        with torch.no_grad():
            target = 1.0 + 0.95 * model(x.roll(1, 0)).amax(1)
        return F.mse_loss(model(x).gather(1, y[:, None])[:, 0], target)

    for function, healthy in ((loss, True), (semi_gradient, False)):
        recorder = TapeRecorder()
        with recorder:
            value = function()
        tape, hessian = recorder.finish(value), RetainedGraphHessian(value, parameters)

        def gradient_at(away: torch.Tensor, tape: Tape = tape) -> torch.Tensor:
            pieces = away.split([p.numel() for p in tape.parameters])
            moved = [
                p.detach().double() + piece.view(p.shape)
                for p, piece in zip(tape.parameters, pieces, strict=True)
            ]
            _, gradients = tape.gradients(moved, change=Change(dtype=torch.float64))
            return torch.cat([g.flatten() for g in gradients])

        single, double = (
            DifferencedHessian(function, parameters),
            DoubleDifferences(hessian, gradient_at),
        )
        assert difference_from_finite_differences(hessian, single) is None
        seen = difference_from_finite_differences(hessian, double)
        assert seen is not None
        # Rounding of a float32 Hessian, or what follows the target.
        assert seen < 1e-6 if healthy else seen > 10.0 * TRUSTED


def test_a_stationary_or_undefined_point_has_no_difference():
    theta = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    hessian = RetainedGraphHessian((theta**2).sum(), [theta])
    assert difference_from_losses(hessian, lambda away: float((away**2).sum())) is None
    one = torch.ones(2, dtype=torch.float64, requires_grad=True)
    hessian = RetainedGraphHessian((one**2).sum(), [one])
    assert difference_from_losses(hessian, lambda away: math.nan) is None
