"""Standing still, and the kinds of it."""

from __future__ import annotations

import numpy as np
import pytest

from convlint.curves.stationary import Standing, standing
from convlint.curves.trend import denoised

K = np.arange(200.0)
FLAT = 0.4 + 2.0 * 0.9**K + 0.005 * np.random.default_rng(0).normal(size=200)
VANISHING = 0.9**K + 1e-4
STEADY = 0.5 + 0.05 * np.random.default_rng(1).normal(size=200)


def test_a_falling_loss_moves():
    assert standing(2.0 * 0.99**K) is Standing.MOVING
    assert standing([1.0] * 5) is Standing.MOVING


def test_a_flat_loss_is_a_plateau_until_more_is_known():
    assert standing(FLAT) is Standing.PLATEAU
    assert standing(FLAT, gradient_norms=STEADY) is Standing.PLATEAU


def test_at_the_loss_of_a_constant_prediction():
    assert standing(FLAT, baseline=0.4) is Standing.TRIVIAL_PREDICTOR
    assert standing(FLAT, baseline=2.3) is Standing.PLATEAU


def test_vanished_gradients_are_a_minimum_or_a_saddle():
    assert standing(FLAT, gradient_norms=VANISHING) is Standing.CONVERGED
    assert standing(FLAT, gradient_norms=VANISHING, lowest_eigenvalue=-1.0) is Standing.SADDLE
    assert standing(FLAT, gradient_norms=VANISHING, lowest_eigenvalue=0.1) is Standing.CONVERGED


def test_a_decayed_rate_with_a_gradient_left_is_premature():
    decayed = {"learning_rates": 0.1 * 0.9**K}
    assert standing(FLAT, gradient_norms=STEADY, **decayed) is Standing.PREMATURE
    assert standing(FLAT, gradient_norms=VANISHING, **decayed) is Standing.CONVERGED
    assert standing(FLAT, gradient_norms=STEADY, learning_rates=[0.1] * 200) is Standing.PLATEAU


def test_denoising_keeps_steps_and_drops_spikes():
    values = np.where(K < 100, 2.0, 1.0)
    values[50] = 90.0
    smooth, noise = denoised(values, 5)
    assert smooth[50] == 2.0
    assert (smooth[[97, 103]] == [2.0, 1.0]).all()
    assert noise == 0.0


def test_denoising_tells_the_noise_it_took_off():
    noisy = 1.0 + 0.1 * np.random.default_rng(0).normal(size=500)
    smooth, noise = denoised(noisy)
    assert noise == pytest.approx(0.1, rel=0.15)
    assert smooth.std() < 0.03
    assert denoised(noisy[:3])[0].tolist() == noisy[:3].tolist()
