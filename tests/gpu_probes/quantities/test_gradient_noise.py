"""The noise scale against linear regression, where it is known: (d + 1) + d σ² / |δ|²."""

from __future__ import annotations

import functools
from statistics import quantiles

import pytest
import torch

from convlint.gpu_probes.quantities.gradient_noise import GradientStack, NoiseEstimate

DIMENSION, NOISE, MICRO = 20, 0.5, 4
TRUE = DIMENSION + 1 + DIMENSION * NOISE**2
"""26 samples, for |δ| = 1."""
DRAWS = 200


def gradients(batches: int, seed: int, *, size: int = MICRO, noise: float = NOISE) -> torch.Tensor:
    """Gradients of ½(xᵀδ - ε)², averaged over ``size`` samples, one row per batch."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batches, size, DIMENSION, generator=generator)
    residual = x[..., 0] - noise * torch.randn(batches, size, generator=generator)
    return (residual.unsqueeze(-1) * x).mean(dim=1)


def estimated(rows: torch.Tensor, most_bytes: int = 2**20) -> NoiseEstimate:
    stack = GradientStack(rows.shape[1], len(rows), rows.device, most_bytes)
    for row in rows:
        stack.add(row)
    return stack.estimate()


@functools.cache
def of_thirty_two() -> list[NoiseEstimate]:
    return [estimated(gradients(32, seed)) for seed in range(DRAWS)]


def test_thirty_two_batches_find_the_noise_scale_as_eight_steps_of_eight_do() -> None:
    scales = [MICRO * (estimate.value or 0.0) for estimate in of_thirty_two()]
    twentieths = quantiles(scales, n=20)
    # Eight steps of eight micro-batches: 26.7, with 5 and 95 % at 20.7 and 34.5. The quantiles of
    # 200 draws are known to about 1.5.
    assert sum(scales) / DRAWS == pytest.approx(TRUE, abs=1.5)
    assert twentieths[0] == pytest.approx(20.7, abs=1.5)
    assert twentieths[-1] == pytest.approx(34.5, abs=2.5)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    intervals = [e.ci for e in of_thirty_two() if e.ci is not None]
    assert len(intervals) == DRAWS
    covered = sum(low <= TRUE / MICRO <= high for low, high in intervals)
    # 95 % nominal; 200 draws tell it to 1.5 %.
    assert covered / DRAWS >= 0.91


@pytest.mark.parametrize(("batches", "size", "noise"), [(8, 4, 0.5), (8, 1, 0.5), (16, 1, 4.0)])
def test_few_batches_give_a_lower_bound_that_holds(batches: int, size: int, noise: float) -> None:
    true = DIMENSION + 1 + DIMENSION * noise**2
    estimates = [
        estimated(gradients(batches, seed, size=size, noise=noise)) for seed in range(DRAWS)
    ]
    assert all(e.at_least for e in estimates)
    bounds = [size * e.lower for e in estimates if e.lower is not None]
    # One-sided 97.5 % nominal, and small samples are skewed.
    assert sum(bound > true for bound in bounds) <= 0.07 * DRAWS


def test_a_signal_that_is_not_told_from_zero_gives_a_bound_only() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(32, DIMENSION, generator=generator)
    rows -= rows.mean(dim=0)
    seen = estimated(rows)
    assert seen.signal < 0
    assert seen.value is None
    assert seen.at_least


def test_gradients_without_noise_have_a_scale_of_zero() -> None:
    rows = torch.ones(32, DIMENSION)
    assert estimated(rows).value == 0.0


def test_sums_of_groups_estimate_the_same() -> None:
    rows = gradients(32, seed=3)
    whole = estimated(rows)
    grouped = estimated(rows, most_bytes=8 * 4 * DIMENSION)
    assert grouped.value == pytest.approx(whole.value, rel=1e-5)
    assert grouped.ci is not None


def test_gradients_too_large_for_four_groups_are_refused() -> None:
    with pytest.raises(MemoryError, match="gradients of 1,000 elements of 32 batches"):
        GradientStack(1000, 32, torch.device("cpu"), most_bytes=3 * 4 * 1000)


def test_the_preconditioned_norm_divides_by_the_root_mean_square() -> None:
    rows = gradients(32, seed=5)
    rows[:, 1:] *= 100.0
    stack = GradientStack(DIMENSION, 32, torch.device("cpu"))
    for row in rows:
        stack.add(row)
    seen = stack.estimate_preconditioned()
    assert seen is not None
    products = rows.double() @ (rows / rows.square().mean(dim=0).sqrt()).double().T
    apart = products - products.diag().diag()
    # The root is taken in float32 here.
    assert seen.signal == pytest.approx(float(apart.sum()) / (32 * 31), rel=1e-5)
    assert seen.power == pytest.approx(float(products.diag().mean()), rel=1e-5)
