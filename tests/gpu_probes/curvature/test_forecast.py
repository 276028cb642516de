"""The quadratic forecast of gradient descent against gradient descent itself."""

from __future__ import annotations

import time

import pytest
import torch

from convlint.gpu_probes.curvature.differences import DifferencedHessian
from convlint.gpu_probes.curvature.forecast import foretold_decrease, quadratic_forecast
from convlint.gpu_probes.curvature.lanczos import TorchVectors, lanczos
from convlint.gpu_probes.curvature.operator import RetainedGraphHessian

SPECTRUM = torch.linspace(-0.2, 3.0, 30, dtype=torch.float64)


def quadratic(theta):
    return 0.5 * (SPECTRUM * theta**2).sum() + theta.sum()


def bowl_with_wall(theta):
    """Flat near the start, steep beyond: its curvature here says nothing of a long step."""
    return 0.5 * (theta**2).sum() + 5.0 * torch.relu(0.6 - theta).pow(2).sum()


def started():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(30, generator=generator, dtype=torch.float64).requires_grad_()


def krylov(loss, theta, iterations):
    hessian = RetainedGraphHessian(loss(theta), [theta])
    space = TorchVectors(torch.float64)
    seen = lanczos(hessian, hessian.gradient, space, iterations=iterations, tolerance=0.0)
    return seen, float(hessian.gradient.norm())


def descended(loss, theta, rate, steps):
    theta = theta.detach().clone()
    for _ in range(steps):
        theta.requires_grad_()
        (gradient,) = torch.autograd.grad(loss(theta), theta)
        theta = theta.detach() - rate * gradient
    return loss(theta).item()


@pytest.mark.parametrize("steps", [1, 2, 5, 10])
@pytest.mark.parametrize("rate", [0.02, 0.3, 0.6, 0.7])
def test_steps_on_a_quadratic_are_foretold_exactly_by_as_many_lanczos_steps(rate, steps):
    theta = started()
    seen, norm = krylov(quadratic, theta, 10)
    before = quadratic(theta).item()
    after = descended(quadratic, theta, rate, steps)
    # Gauss quadrature of ten nodes is exact to degree 19, which ten steps need.
    assert foretold_decrease(seen, norm, rate, steps) == pytest.approx(before - after, rel=1e-8)


def test_a_flat_direction_counts_as_linear():
    theta = torch.zeros(2, dtype=torch.float64, requires_grad=True)

    def loss(point):
        return point[0] + 0.5 * point[1] ** 2 + point[1]

    seen, norm = krylov(loss, theta, 2)
    after = descended(loss, theta, 0.1, 4)
    assert foretold_decrease(seen, norm, 0.1, 4) == pytest.approx(-after, rel=1e-8)


def forecast_of(loss, theta, deadline=float("inf")):
    seen, _ = krylov(loss, theta, 10)
    descent = DifferencedHessian(lambda: loss(theta), [theta])
    before = theta.detach().clone()
    made = quadratic_forecast(seen, seen.largest, loss(theta).item(), descent, deadline=deadline)
    assert torch.equal(theta.detach(), before)
    return made


def test_on_a_quadratic_every_check_agrees():
    made = forecast_of(quadratic, started())
    # The largest Ritz value of ten is 3 to within 1e-3.
    assert made.valid_up_to == pytest.approx(1.0 / 3.0, rel=1e-3)
    assert len(made.checks) == 8
    for check in made.checks:
        assert check.predicted == pytest.approx(check.measured, rel=1e-8)
    assert made.loss == pytest.approx(quadratic(started()).item())


def test_the_gate_closes_where_the_loss_is_not_the_quadratic_of_its_start():
    theta = torch.full((30,), 1.0, dtype=torch.float64).requires_grad_()
    made = forecast_of(bowl_with_wall, theta)
    # A quarter of 1/λ five times leads from 1 to 0.24, far beyond the wall at 0.6.
    assert made.valid_up_to == pytest.approx(0.05)
    assert [check.rate for check in made.checks] == pytest.approx([0.05] * 2 + [0.25] * 2)


def test_without_time_for_a_check_there_is_no_forecast():
    assert forecast_of(quadratic, started(), deadline=time.monotonic()) is None


def test_a_stationary_point_has_no_forecast():
    theta = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    seen, _ = krylov(lambda p: (p**2).sum() + p.sum(), theta, 3)
    flat = DifferencedHessian(lambda: (theta**2).sum(), [theta])
    assert quadratic_forecast(seen, 2.0, 0.0, flat, deadline=float("inf")) is None
