"""The stopping criteria: their definitions, and silence where noise decides nothing."""

from __future__ import annotations

import numpy as np
import pytest

from convlint.curves.criteria import (
    Answer,
    combined,
    converged,
    gradient_norm,
    loss_plateau,
    no_improvement,
    parameter_change,
    relative_improvement,
)

EXACT = [2.0 * 0.5**k for k in range(40)]


def test_a_loss_plateau_is_the_last_change_of_an_exact_series():
    assert loss_plateau(EXACT[:5]).answer is Answer.FAILS
    assert loss_plateau(EXACT[:5]).value == pytest.approx(EXACT[3] - EXACT[4])
    assert loss_plateau(EXACT).holds
    assert loss_plateau([1.0]).answer is Answer.UNKNOWN


def test_relative_improvement_is_relative():
    # Each step halves the loss, however small it is.
    assert relative_improvement(EXACT).answer is Answer.FAILS
    assert relative_improvement(EXACT).value == pytest.approx(0.5)
    assert relative_improvement([1.0, 1.0 - 1e-5]).holds
    assert relative_improvement([1.0 + 0.01 * k for k in range(20)]).holds
    # Noise or not: two values do not tell.
    assert relative_improvement([1.0, 2.0]).answer is Answer.UNDECIDABLE
    assert relative_improvement([0.0, 0.0]).holds


def test_noise_makes_a_plateau_undecidable_rather_than_reached():
    random = np.random.default_rng(0)
    noisy = list(1.0 + 0.1 * random.normal(size=200))
    assert loss_plateau(noisy, 1e-6).answer is Answer.UNDECIDABLE
    assert loss_plateau(noisy, 1e-6).error is not None
    # 0.1 · sqrt(π / 20) / 20 is 2e-3 for windows of 20.
    assert loss_plateau(noisy, 2e-2).holds


def test_noise_does_not_hide_a_clear_descent():
    random = np.random.default_rng(0)
    falling = list(10.0 - 0.1 * np.arange(60) + 0.2 * random.normal(size=60))
    assert loss_plateau(falling, 1e-3).answer is Answer.FAILS
    assert loss_plateau(falling, 1e-3).value == pytest.approx(0.1, rel=0.3)


@pytest.mark.parametrize("criterion", [gradient_norm, parameter_change])
def test_norms(criterion):
    assert criterion(None).answer is Answer.UNKNOWN
    assert criterion(1e-9).holds
    assert criterion(1.0).answer is Answer.FAILS
    assert criterion(float("nan")).answer is Answer.FAILS


def test_patience_counts_evaluations_since_the_best():
    metric = [5.0, 4.0, 3.0, 3.5, 3.2, 3.1]
    assert no_improvement(metric, patience=3).holds
    assert no_improvement(metric, patience=4).answer is Answer.FAILS
    assert no_improvement([*metric, 2.9], patience=3).value == 0
    assert no_improvement([0.1, 0.5, 0.4, 0.3], patience=2, mode="max").holds


def test_an_improvement_below_min_delta_is_none():
    metric = [1.0, 0.999, 0.998, 0.997]
    assert no_improvement(metric, patience=3, min_delta=0.01).holds
    assert not no_improvement(metric, patience=3).holds


def test_nan_is_no_improvement():
    assert no_improvement([1.0, float("nan"), float("nan")], patience=2).holds
    assert no_improvement([float("nan")] * 3, patience=3).holds


def test_bad_arguments():
    with pytest.raises(ValueError, match="'min' or 'max'"):
        no_improvement([1.0], mode="low")
    with pytest.raises(ValueError, match="patience"):
        no_improvement([1.0], patience=0)


def test_combinations():
    holds, fails, unknown = gradient_norm(0.0), parameter_change(1.0), gradient_norm(None)
    noisy = loss_plateau(list(np.random.default_rng(0).normal(size=100)), 1e-6)
    assert noisy.answer is Answer.UNDECIDABLE
    assert combined([holds, fails], "any")
    assert not combined([holds, fails], "all")
    assert combined([holds, unknown], "all")
    assert not combined([holds, noisy], "all")
    assert not combined([unknown], "all")
    assert not combined([], "any")


def test_a_flat_valley_has_a_converged_loss_and_moving_parameters():
    criteria = [loss_plateau(EXACT), parameter_change(0.1), gradient_norm(None)]
    seen = converged(criteria)
    assert (seen.loss, seen.parameters, seen.gradient) == (True, False, None)
