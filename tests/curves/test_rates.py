"""Convergence rates against series whose rate is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

from convlint.curves import convergence

STEPS = np.arange(60.0)


def gradient_descent(spectrum, start, rate, steps=60):
    """Loss of gradient descent on a diagonal quadratic."""
    losses, x = [], np.asarray(start, dtype=float)
    for _ in range(steps):
        losses.append(0.5 * float(np.sum(spectrum * x**2)))
        x = x * (1.0 - rate * spectrum)
    return np.array(losses)


def geometric_quadratic():
    spectrum = np.geomspace(0.02, 1.0, 30)
    start = np.random.default_rng(1).normal(size=30)
    return gradient_descent(spectrum, start, 1.0)


FAMILIES = {
    "fast exponential": ("linear", 0.3 + 2.0 * 0.8**STEPS),
    "exponential to zero": ("linear", 2.0 * 0.9**STEPS),
    "slow exponential": ("linear", 0.3 + 2.0 * 0.95**STEPS),
    "gradient descent at 1/L": ("linear", geometric_quadratic()),
    "inverse square root": ("sublinear", 2.0 * (STEPS + 1.0) ** -0.5),
    "inverse": ("sublinear", 0.2 + 2.0 / (STEPS + 1.0)),
    "late inverse": ("sublinear", 0.2 + 2.0 / (STEPS + 5.0)),
    "inverse square": ("sublinear", 0.2 + 2.0 * (STEPS + 3.0) ** -2.0),
}


@pytest.mark.parametrize("noise", [0.0, 0.001, 0.01, 0.03])
@pytest.mark.parametrize("family", FAMILIES)
def test_rate_class_is_right_or_undetermined(family, noise):
    expected, series = FAMILIES[family]
    draws = 3 if noise else 1
    seen = []
    for seed in range(draws):
        disturbance = noise * np.ptp(series) * np.random.default_rng(seed).normal(size=60)
        seen.append(convergence(series + disturbance).rate_class)
    wrong = [rate for rate in seen if rate not in (expected, "undetermined", "")]
    assert not wrong
    if noise <= 0.001:
        assert seen.count(expected) >= draws / 2


def test_most_rates_are_decided_at_low_noise():
    decided = total = 0
    for expected, series in FAMILIES.values():
        for seed in range(3):
            disturbance = 0.001 * np.ptp(series) * np.random.default_rng(seed).normal(size=60)
            decided += convergence(series + disturbance).rate_class == expected
            total += 1
    assert decided >= 0.8 * total


@pytest.mark.parametrize("factor", [0.6, 0.8, 0.9, 0.97])
def test_linear_factor_of_a_clean_exponential(factor):
    seen = convergence(0.5 + 3.0 * factor**STEPS)
    assert seen.kind == "converging"
    assert seen.rate is not None and seen.limit is not None
    assert seen.rate.value == pytest.approx(factor, rel=1e-6)
    # The smallest of these has decayed by 0.97^59 = 17 % of its range only.
    assert seen.limit.value == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_sublinear_exponent_of_a_clean_power_law(exponent):
    seen = convergence(0.2 + 2.0 * (STEPS + 2.0) ** -exponent)
    assert seen.rate_class == "sublinear"
    assert seen.rate is not None
    assert seen.rate.value == pytest.approx(exponent, rel=1e-3)


def test_interval_covers_the_true_factor_at_one_percent_noise():
    covered = 0
    for seed in range(12):
        series = 2.0 * 0.9**STEPS + 0.02 * np.random.default_rng(seed).normal(size=60)
        rate = convergence(series).rate
        if rate is not None and rate.ci is not None:
            covered += rate.ci[0] <= 0.9 <= rate.ci[1]
    # The profile holds the other coefficients at their best, so it covers 95 % only roughly.
    assert covered >= 9


def test_gradient_descent_on_a_quadratic_reaches_the_factor_of_its_smallest_eigenvalue():
    spectrum = np.array([0.04, 0.5, 1.0])
    series = gradient_descent(spectrum, [1.0, 1.0, 1.0], 1.0, steps=80)
    seen = convergence(series)
    assert seen.rate_class == "linear"
    assert seen.rate is not None
    assert seen.rate.value == pytest.approx((1.0 - 0.04) ** 2, rel=1e-3)


def test_newton_iteration_is_superlinear():
    # Newton's method on f(x) = sqrt(1 + x²) maps x to -x³.
    x, losses = 0.97, []
    for _ in range(12):
        losses.append(np.sqrt(1.0 + x * x))
        x = -(x**3)
    assert convergence(losses, lower_bound=None).rate_class in ("superlinear", "quadratic")


@pytest.mark.parametrize("ridge", [0.1, 0.01])
def test_newton_on_logistic_regression_is_quadratic(ridge):
    data = load_breast_cancer()
    features = (data.data - data.data.mean(0)) / data.data.std(0)
    w, losses = np.zeros(30), []
    for _ in range(20):
        scores = features @ w
        p = 1.0 / (1.0 + np.exp(-scores))
        losses.append(
            float(np.mean(np.logaddexp(0.0, scores) - data.target * scores)) + ridge / 2.0 * w @ w
        )
        gradient = features.T @ (p - data.target) / len(p) + ridge * w
        hessian = (features * (p * (1.0 - p))[:, None]).T @ features / len(p) + ridge * np.eye(30)
        w = w - np.linalg.solve(hessian, gradient)
    seen = convergence(losses)
    assert seen.rate_class == "quadratic"
    # What is left of it before rounding: 1.93 to 2.
    assert seen.rate is not None and 1.93 <= seen.rate.value <= 2.0


def test_quadratic_convergence_doubles_the_digits():
    losses = [0.9 ** (2.0**k) for k in range(15)]
    seen = convergence(losses)
    assert seen.rate_class == "quadratic"
    assert seen.rate is not None and seen.rate.value == pytest.approx(2.0, rel=0.08)


def test_long_series_keep_their_rate_per_step():
    steps = np.arange(2000.0)
    seen = convergence(1.0 + 2.0 * 0.999**steps)
    assert seen.rate_class == "linear"
    assert seen.rate is not None
    assert seen.rate.value == pytest.approx(0.999, abs=1e-5)
    assert seen.steps == 2000


def test_interval_of_the_exponent_covers_it():
    covered = decided = 0
    for seed in range(12):
        disturbance = 0.002 * np.random.default_rng(seed).normal(size=60)
        seen = convergence(2.0 * (STEPS + 1.0) ** -0.5 + disturbance)
        if seen.rate_class == "sublinear" and seen.rate is not None and seen.rate.ci is not None:
            decided += 1
            covered += seen.rate.ci[0] <= 0.5 <= seen.rate.ci[1]
    assert decided >= 8
    assert covered >= decided - 2
