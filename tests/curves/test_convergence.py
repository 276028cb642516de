"""The kind of a loss series on synthetic runs whose health is known by construction."""

from __future__ import annotations

import math

import numpy as np
import pytest

from convlint.curves import convergence

LN10 = math.log(10.0)


def noise(seed, size, scale):
    return scale * np.random.default_rng(seed).normal(size=size)


def test_nan_at_the_end_is_diverging():
    seen = convergence([2.3, 2.2, 2.5, 4.0, None, None])
    assert seen.kind == "diverging"
    assert "not finite from step 5" in seen.note
    assert convergence([math.nan] * 3).kind == "diverging"
    assert convergence([2.3] * 20 + [math.inf]).kind == "diverging"


def test_one_skipped_step_amid_finite_losses_is_not_diverging():
    series = list(0.2 + 2.0 * 0.95 ** np.arange(60.0))
    series[7] = None
    assert convergence(series).kind == "converging"


def test_too_few_steps_are_undetermined():
    assert convergence([]).kind == "undetermined"
    assert convergence([3.0, 2.0, 1.0]).kind == "undetermined"


@pytest.mark.parametrize("growth", [1.001, 1.02, 1.3])
@pytest.mark.parametrize("steps", [30, 100])
def test_growing_loss_is_diverging(growth, steps):
    assert convergence(growth ** np.arange(float(steps))).kind == "diverging"


def test_fall_then_lasting_rise_is_diverging():
    series = np.concatenate([np.linspace(2.3, 0.8, 40), np.linspace(0.8, 3.0, 40)])
    assert convergence(series + noise(0, 80, 0.05)).kind == "diverging"


def test_loss_thrown_off_and_back_at_the_trivial_level_is_diverging():
    thrown = [2.31, 6.0, 80.0, 900.0, 400.0, 60.0, 9.0, 4.0, 2.8]
    series = np.concatenate([thrown, 2.33 + noise(1, 60, 0.05)])
    assert convergence(series).kind == "diverging"


def test_loss_thrown_off_that_recovers_is_not_diverging():
    series = np.concatenate([[2.3, 7.0, 9.0, 8.0, 4.0], 0.2 + 1.8 * 0.93 ** np.arange(60.0)])
    assert convergence(series).kind == "converging"


@pytest.mark.parametrize("period", [2, 3, 5, 12])
def test_lasting_swing_is_oscillating(period):
    steps = np.arange(80.0)
    series = 1.0 + 0.4 * np.cos(2.0 * np.pi * steps / period) + noise(2, 80, 0.03)
    seen = convergence(series)
    assert seen.kind == "oscillating"
    assert f"period of {80 / round(80 / period):.3g}" in seen.note


def test_damped_momentum_oscillation_is_converging():
    # Heavy ball on a quadratic: the loss swings while its envelope decays.
    theta, velocity, losses = 1.0, 0.0, []
    for _ in range(80):
        losses.append(0.5 * theta**2)
        velocity = 0.9 * velocity + theta
        theta -= 0.1 * velocity
    assert convergence(losses).kind == "converging"


def test_repeating_batches_of_unshuffled_data_are_not_oscillating():
    pattern = np.tile(noise(3, 12, 0.08), 9)[:100]
    assert convergence(0.3 + 2.0 * 0.96 ** np.arange(100.0) + pattern).kind == "converging"


@pytest.mark.parametrize("scale", [0.0, 0.01, 0.05])
def test_flat_loss_is_stalled_at_the_trivial_predictor(scale):
    seen = convergence(LN10 + noise(4, 100, scale), baseline=LN10)
    assert seen.kind == "stalled"
    assert "constant predictor" in seen.note


def test_descent_to_the_trivial_predictor_and_no_further_is_stalled():
    series = LN10 + 1.5 * 0.8 ** np.arange(100.0) + noise(5, 100, 0.02)
    assert convergence(series, baseline=LN10).kind == "stalled"
    assert convergence(series, baseline=None).kind == "converging"


def test_flat_loss_under_heavy_noise_is_not_called_stalled():
    series = 1.0 + noise(6, 30, 0.4)
    assert convergence(series).kind in ("undetermined", "slow")


@pytest.mark.parametrize("seed", range(5))
def test_plateau_then_drop_is_not_stalled(seed):
    plateau = np.full(60, LN10)
    drop = 0.4 + (LN10 - 0.4) * 0.93 ** np.arange(40.0)
    series = np.concatenate([plateau, drop]) + noise(seed, 100, 0.04)
    assert convergence(series, baseline=LN10).kind == "converging"


def test_trained_model_that_hardly_moves_is_not_judged():
    series = 0.40 + noise(7, 100, 0.02)
    assert convergence(series, baseline=LN10).kind == "undetermined"


def test_clean_crawl_is_slow():
    series = 2.3 - 1e-5 * np.arange(100.0)
    seen = convergence(series)
    assert seen.kind == "slow"
    assert convergence(2.3 - 2e-3 * np.arange(100.0), planned_steps=120).kind == "slow"
    assert convergence(2.3 - 2e-3 * np.arange(100.0), planned_steps=5000).kind == "converging"


def test_spikes_do_not_hide_convergence():
    series = 0.2 + 2.1 * 0.95 ** np.arange(100.0) + noise(8, 100, 0.03)
    series[[30, 55, 90]] += 1.5
    assert convergence(series).kind == "converging"


def test_negative_losses_need_no_lower_bound():
    series = -5.0 + 4.0 * 0.93 ** np.arange(60.0)
    seen = convergence(series, lower_bound=None)
    assert seen.kind == "converging"
    assert seen.limit is not None and seen.limit.value == pytest.approx(-5.0, abs=1e-3)


def test_noise_is_the_standard_deviation_of_the_step_to_step_noise():
    estimates = [
        convergence(1.0 + 2.0 * 0.97 ** np.arange(200.0) + noise(seed, 200, 0.05)).noise
        for seed in range(20)
    ]
    # The smaller of two estimates is a few per cent low on average.
    assert np.mean(estimates) == pytest.approx(0.05, rel=0.1)


@pytest.mark.parametrize("scale", [1e-250, 1e-120, 1.0, 1e120, 1e250])
def test_the_scale_of_the_loss_does_not_matter(scale):
    seen = convergence(scale * (0.2 + 2.0 * 0.9 ** np.arange(60.0)))
    assert (seen.kind, seen.rate_class) == ("converging", "linear")
    assert seen.first == pytest.approx(2.2 * scale)
    assert seen.limit is not None and seen.limit.value == pytest.approx(0.2 * scale, rel=1e-3)


def test_a_loss_that_is_fitted_exactly_has_a_rate():
    seen = convergence([1e-3**i for i in range(60)])
    assert seen.kind == "converging"
