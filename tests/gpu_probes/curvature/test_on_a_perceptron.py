"""What Lanczos, the forecast and the stability limit say of a real network, before and after training.

A perceptron of 2,440 parameters on 256 digits: 64-26-20-10, tanh, in float64. Its spectrum is what
those of small networks are: a few large eigenvalues over hundreds that are almost zero, a third of
them negative. How many steps of Lanczos it takes depends on the network, so bounds are by order of
magnitude where they are not rounding.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import nn
from torch.nn import functional as F

from convlint.gpu_probes.curvature.forecast import AGREEMENT, foretold_decrease
from convlint.gpu_probes.curvature.lanczos import TorchVectors, lanczos
from convlint.gpu_probes.curvature.operator import RetainedGraphHessian

load_digits = pytest.importorskip("sklearn.datasets").load_digits

TRAINED = (0, 20, 320)
"""Steps of SGD with momentum 0.9 at 0.1: at the start, on the way, and at a loss of 0.005."""

SEEDS = 10
SPACE = TorchVectors(torch.float64)


@dataclass
class Point:
    """The network after some steps, with both ends of its spectrum."""

    loss: Callable[[], torch.Tensor]
    parameters: list[nn.Parameter]
    hessian: RetainedGraphHessian
    smallest: float
    largest: float

    def descended(self, rate: float, steps: int) -> list[float]:
        """Losses after 1 … ``steps`` real steps of plain gradient descent; all is put back."""
        kept = [p.detach().clone() for p in self.parameters]
        losses = []
        for _ in range(steps):
            gradients = torch.autograd.grad(self.loss(), self.parameters)
            for parameter, gradient in zip(self.parameters, gradients, strict=True):
                parameter.data.add_(gradient, alpha=-rate)
            losses.append(self.loss().item())
        for parameter, value in zip(self.parameters, kept, strict=True):
            parameter.data.copy_(value)
        return losses


@pytest.fixture(scope="module")
def points() -> dict[int, Point]:
    digits = load_digits()
    x = torch.tensor(digits.data[:256]) / 16.0
    y = torch.tensor(digits.target[:256])
    found = {}
    for steps in TRAINED:
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Linear(64, 26), nn.Tanh(), nn.Linear(26, 20), nn.Tanh(), nn.Linear(20, 10)
        ).double()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for _ in range(steps):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        parameters = list(model.parameters())

        def loss(model: nn.Module = model) -> torch.Tensor:
            return F.cross_entropy(model(x), y)

        hessian = RetainedGraphHessian(loss(), parameters)
        found[steps] = Point(loss, parameters, hessian, *ends(hessian))
    return found


def ends(hessian: RetainedGraphHessian) -> tuple[float, float]:
    """Both ends by SciPy's ARPACK, the upper one to rounding."""
    operator = LinearOperator(
        (hessian.dimension, hessian.dimension),
        matvec=lambda v: hessian(torch.from_numpy(np.ascontiguousarray(v).reshape(-1))).numpy(),
        dtype=np.float64,
    )
    start = np.random.default_rng(0).normal(size=hessian.dimension)
    low, high = (
        float(eigsh(operator, k=1, which=which, v0=start, ncv=60, tol=tol)[0][0])
        # A residual of 1e-4 is an error of its square.
        for which, tol in (("SA", 1e-4), ("LA", 0.0))
    )
    return low, high


@pytest.fixture(scope="module")
def errors(points) -> Callable[[int, int], tuple[float, float]]:
    """The worst errors of both ends at a point after some products, each computed once."""
    return functools.cache(lambda trained, products: worst(points[trained], products))


def worst(point: Point, steps: int) -> tuple[float, float]:
    """The largest relative errors of both ends after ``steps`` products, over random starts."""
    upper = lower = 0.0
    for seed in range(SEEDS):
        generator = torch.Generator().manual_seed(seed)
        start = torch.randn(point.hessian.dimension, generator=generator, dtype=torch.float64)
        seen = lanczos(point.hessian, start, SPACE, iterations=steps, tolerance=0.0)
        assert seen is not None
        # The certificates: both ends are approached from within.
        assert seen.largest <= point.largest * (1.0 + 1e-12)
        assert seen.smallest >= point.smallest - 1e-12 * point.largest
        upper = max(upper, 1.0 - seen.largest / point.largest)
        lower = max(lower, 1.0 - seen.smallest / point.smallest)
    return upper, lower


@pytest.mark.parametrize(
    ("products", "upper"),
    [
        (5, (0.5, 0.3, 0.3)),
        (10, (0.2, 1e-3, 0.05)),
        (20, (5e-7, 5e-7, 5e-7)),
        # Rounding: the bound is a few units in the last place.
        (40, (4e-15, 4e-15, 4e-15)),
    ],
)
def test_the_largest_eigenvalue_is_exact_after_twenty_products(errors, products, upper):
    for steps, bound in zip(TRAINED, upper, strict=True):
        assert errors(steps, products)[0] <= bound


def test_the_smallest_takes_more_products_the_longer_the_network_was_trained(errors):
    early, middle, late = (errors(steps, 20)[1] for steps in TRAINED)
    assert early < 0.1
    assert early < middle < late < 1.0
    assert errors(0, 40)[1] < 1e-4
    assert errors(20, 40)[1] < 0.05
    assert errors(320, 40)[1] < 0.1


def test_negative_curvature_is_large_at_first_and_next_to_nothing_later(points):
    early, middle, late = (-points[steps].smallest / points[steps].largest for steps in TRAINED)
    # Of the order of 1/2, then a tenth to a quarter of it, then a hundredth.
    assert 0.3 < early < 0.7
    assert 0.03 < middle < 0.3
    assert 0.001 < late < 0.03


def test_reorthogonalisation_keeps_the_basis_orthogonal_to_rounding(points):
    """Without it the vectors turn towards each other as soon as the first value has converged."""
    hessian, basis = points[20].hessian, []
    start = torch.randn(hessian.dimension, generator=torch.Generator().manual_seed(0)).double()
    lanczos(hessian, start, SPACE, iterations=60, tolerance=0.0, basis=basis)
    vectors = torch.stack(basis)
    error = vectors @ vectors.T - torch.eye(len(basis), dtype=torch.float64)
    assert len(basis) >= 60
    assert float(error.abs().max()) < 1e-14


def foretold(point: Point, rate: float, steps: int) -> float:
    seen = lanczos(point.hessian, point.hessian.gradient, SPACE, iterations=10, tolerance=0.0)
    assert seen is not None
    norm = float(point.hessian.gradient.norm())
    return point.loss().item() - foretold_decrease(seen, norm, rate, steps)


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_ten_steps_after_training_are_foretold_to_four_decimals(points, share):
    point = points[320]
    rate = share / point.largest
    real = point.descended(rate, 10)
    assert foretold(point, rate, 10) == pytest.approx(real[-1], abs=5e-5)
    # Nor is that for want of movement: a real share of the loss is won.
    assert real[-1] < 0.98 * point.loss().item()


def test_at_initialisation_only_short_steps_are_foretold(points):
    point = points[0]
    before = point.loss().item()
    short, whole = 0.25 / point.largest, 1.0 / point.largest
    slow, fast = point.descended(short, 5), point.descended(whole, 10)
    assert abs(foretold(point, short, 5) - slow[4]) < AGREEMENT * (before - slow[4])
    assert abs(foretold(point, whole, 5) - fast[4]) > AGREEMENT * (before - fast[4])
    # Negative curvature that ten steps follow: a loss below zero is nonsense.
    assert foretold(point, whole, 10) < 0.0 < fast[9]


def test_above_the_limit_divergence_may_wait_for_more_than_fifty_steps(points):
    """The gradient hardly lies in the top direction, and the network flattens on its way."""
    point = points[20]
    losses = point.descended(2.2 / point.largest, 50)
    assert losses[-1] < point.loss().item()
    assert max(losses) <= point.loss().item()


def test_below_the_limit_of_the_start_a_network_may_blow_up_as_it_sharpens(points):
    point = points[0]
    losses = point.descended(1.8 / point.largest, 50)
    assert max(losses) > 10.0 * point.loss().item()
