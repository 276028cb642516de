"""Curves are fitted to where the least squares lie, many series at once as one by one."""

from __future__ import annotations

import numpy as np
import pytest

from convlint.curves import forecast as forecasting
from convlint.curves.fits import (
    fit_exponential,
    fit_exponentials,
    fit_momentum,
    fit_power,
    fit_powers,
    fit_two_exponentials,
)

K = np.arange(80.0)


def noisy(curve, count=12, deviation=0.05):
    return curve + deviation * np.random.default_rng(0).normal(size=(count, curve.size))


def test_exact_curves_give_their_parameters_back():
    # Searches end at a relative gain of 1e-7 of squares that are zero at the truth.
    single = fit_exponential(0.3 + 2.0 * 0.93**K, 0.0)
    assert (single.value, single.limit) == pytest.approx((0.93, 0.3), rel=1e-5)
    power = fit_power(0.2 + 2.0 * (1.0 + K / 5.0) ** -0.8, 0.0)
    assert (power.value, power.offset, power.limit) == pytest.approx((0.8, 5.0, 0.2), rel=1e-3)
    mixed = 0.3 + 1.0 * 0.97**K + 1.5 * 0.7**K
    two = fit_two_exponentials(mixed, fit_exponential(mixed, 0.0), 0.0)
    assert (two.value, two.limit) == pytest.approx((0.97, 0.3), rel=1e-4)
    pushed = 0.1 + (1.0 + 0.3 * K + 0.05 * K**2) * 0.85**K
    momentum = fit_momentum(pushed, fit_exponential(pushed, 0.0), 0.0)
    assert (momentum.value, momentum.limit) == pytest.approx((0.85, 0.1), rel=1e-4)


@pytest.mark.parametrize("fit", [fit_exponentials, fit_powers])
@pytest.mark.parametrize("floor", [None, 0.0, 0.45])
def test_many_series_are_fitted_as_each_of_them(fit, floor):
    series = noisy(0.3 + 2.0 * (1.0 + K / 4.0) ** -0.9)
    for whole, row in zip(fit(series, floor), series, strict=True):
        (alone,) = fit(row[None], floor)
        # Products of matrices are summed in another order than those of vectors.
        assert whole.squares == pytest.approx(alone.squares, rel=1e-6)
        assert floor is None or whole.limit >= floor


@pytest.mark.parametrize("curve", [0.3 + 2.0 * 0.93**K, 0.2 + 2.0 * (1.0 + K / 5.0) ** -0.8])
def test_no_point_of_a_fine_grid_fits_better(curve):
    for row in noisy(curve, 3):
        found = fit_power(row, 0.0)
        tried = [
            np.polyfit((1.0 + K / offset) ** -power, row, 1, full=True)[1][0]
            for power in np.linspace(0.1, 3.0, 60)
            for offset in np.geomspace(0.2, 150.0, 60)
        ]
        # The grid knows no floor and no bound on the amplitude, so that it may fit better.
        assert found.squares <= min(tried) * 1.01


def test_a_rising_series_has_a_flat_fit():
    for fit in (fit_exponentials, fit_powers):
        (found,) = fit((1.0 + 0.1 * K)[None], 0.0)
        assert found.limit == pytest.approx((1.0 + 0.1 * K).mean())


def test_the_bootstrap_fits_all_its_draws_at_once(monkeypatch):
    asked = []
    for name in ("fit_exponentials", "fit_powers"):
        fit = getattr(forecasting, name)
        monkeypatch.setattr(
            forecasting, name, lambda v, b, fit=fit: asked.append(len(v)) or fit(v, b)
        )
    row = noisy(0.3 + 2.0 * 0.95**K, 2, 0.02)[1]
    assert forecasting.forecast(row, K, 160.0, 0.0) is not None
    # Each kind once for the series and once for its draws, in the back-test and in the forecast.
    assert len(asked) <= 8 and sum(asked) <= 4 + 2 * forecasting.BOOTSTRAPS
