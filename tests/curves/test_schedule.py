"""Robbins and Monro's conditions, and the noise floor against a simulated run."""

from __future__ import annotations

import math

import numpy as np
import pytest

from convlint.curves.schedule import noise_floor, robbins_monro

T = np.arange(1.0, 1001.0)


@pytest.mark.parametrize(
    ("rates", "kind", "satisfied"),
    [
        (1.0 / T, "power", True),
        (0.3 * T**-0.75, "power", True),
        (T**-0.5, "power", False),
        (T**-1.5, "power", False),
        (0.1 * 0.99**T, "geometric", False),
        (np.full(1000, 0.1), "constant", False),
        (0.05 * (1 + np.cos(np.pi * T / 1000)), "ends", False),
        (np.random.default_rng(0).uniform(0.1, 1.0, 1000), "undetermined", None),
    ],
)
def test_kinds_of_schedules(rates, kind, satisfied):
    seen = robbins_monro(np.maximum(rates, 0.0))
    assert (seen.kind, seen.satisfied) == (kind, satisfied)


def test_a_warm_up_does_not_count():
    rates = np.where(T < 100, T / 100, 100.0 / T)
    assert robbins_monro(rates).satisfied


def test_which_condition_fails():
    assert robbins_monro(T**-0.5).squares_converge is False
    assert robbins_monro(T**-0.5).sum_diverges is True
    assert robbins_monro(T**-1.5).sum_diverges is False


def test_what_a_geometric_decay_has_left():
    seen = robbins_monro(0.9 ** T[:100])
    assert seen.decay == pytest.approx(0.9)
    assert seen.left == pytest.approx(0.9**101 / 0.1, rel=1e-6)


@pytest.mark.parametrize("rates", [[], [-1.0], [math.nan]])
def test_what_is_no_schedule(rates):
    with pytest.raises(ValueError, match="learning rates"):
        robbins_monro(rates)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_noise_floor_of_a_quadratic(momentum):
    eigenvalues, variance, rate = np.array([0.2, 1.0, 3.0]), np.array([1.0, 0.5, 2.0]), 0.1
    random = np.random.default_rng(0)
    x, velocity = np.zeros((2000, 3)), np.zeros((2000, 3))
    losses = []
    for step in range(1500):
        gradient = eigenvalues * x + np.sqrt(variance) * random.normal(size=x.shape)
        velocity = momentum * velocity - rate * gradient
        x = x + velocity
        if step >= 500:
            losses.append(float((0.5 * eigenvalues * x**2).sum(axis=1).mean()))
    # 2,000 chains over 1,000 correlated steps: the mean is good to about half a percent.
    expected = noise_floor(rate, variance, eigenvalues, momentum=momentum)
    assert np.mean(losses) == pytest.approx(expected, rel=0.02)


def test_a_total_and_the_largest_eigenvalue_bound_the_floor():
    exact = noise_floor(0.1, [1.0, 0.5, 2.0], [0.2, 1.0, 3.0])
    assert exact <= noise_floor(0.1, 3.5, 3.0) < 1.2 * exact


def test_an_unstable_rate_has_no_floor():
    assert noise_floor(1.0, 1.0, 2.0) == math.inf
    assert noise_floor(1.0, 1.0, 2.0, momentum=0.5) < math.inf
