"""The range test against quadratics whose largest stable rate is known."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest
import torch
from scipy.signal import savgol_filter
from torch import nn

from convlint.gpu_probes.horizon.learning_rate_range import (
    FAR_AHEAD,
    SUSTAINED,
    learning_rate_range,
)
from convlint.gpu_probes.horizon.swept_rates import HALF_WINDOW, slopes, smoothed
from convlint.gpu_probes.observations import LearningRateRange
from convlint.gpu_probes.tape import TapeRecorder
from convlint.gpu_probes.tape.trajectory import RecordedStep, Start
from convlint.report.measured import rate_range
from convlint.report.text import format_number


class Quadratic(nn.Module):
    """½ Σ λ_i θ_i² + a constant, started at ones."""

    def __init__(self, curvatures: list[float], constant: float, dtype: torch.dtype) -> None:
        super().__init__()
        self.curvatures = torch.tensor(curvatures, dtype=dtype)
        self.theta = nn.Parameter(torch.ones(len(curvatures), dtype=dtype))
        self.constant = constant

    def forward(self) -> torch.Tensor:
        return 0.5 * (self.curvatures * self.theta.square()).sum() + self.constant


def ranged(
    curvatures: list[float],
    in_use: float,
    deadline: float = math.inf,
    *,
    rates: int = 60,
    constant: float = 0.0,
    dtype: torch.dtype = torch.float32,
) -> LearningRateRange:
    model = Quadratic(curvatures, constant, dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=in_use)
    steps = []
    for _ in range(4):
        recorder = TapeRecorder()
        with recorder:
            loss = model()
        steps.append(RecordedStep((recorder.finish(loss),), ({"lr": in_use},)))
    result = learning_rate_range(
        Start(optimizer), steps[:2], steps[2:], in_use=in_use, deadline=deadline, rates=rates
    )
    assert result is not None
    return result


def test_one_step_is_exact_on_a_quadratic():
    result = ranged([4.0, 1.0, 0.5], in_use=0.1)
    for rate, loss in zip(result.rates, result.one_step, strict=True):
        expected = 0.5 * sum(c * (1 - rate * c) ** 2 for c in (4.0, 1.0, 0.5))
        # A rate of 100 squares to 1e5; float32 carries seven digits of it.
        assert loss == pytest.approx(expected, rel=1e-5)


def test_both_tests_get_time_and_no_best_step_is_told_of_a_part_of_the_rates(monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr(time, "monotonic", lambda: float(next(ticks)))
    result = ranged([4.0, 1.0, 0.5], in_use=0.1, deadline=60.0)
    assert 0 < len(result.one_step) < len(result.rates)
    assert 0 < len(result.sweep) < len(result.rates)
    assert result.best is None
    assert "single step" not in rate_range(result)


def test_the_best_single_step_is_the_exact_line_search():
    curvatures = [4.0, 1.0, 0.5]
    squares = sum(c**2 for c in curvatures)
    exact = squares / sum(c**3 for c in curvatures)
    # Sixty rates over six decades lie a factor of 1.26 apart.
    assert ranged(curvatures, in_use=0.1).best == pytest.approx(exact, rel=0.26)


@pytest.mark.parametrize("largest", [1.0, 10.0, 100.0])
def test_divergence_begins_near_two_over_the_largest_curvature(largest):
    result = ranged([largest, 0.3 * largest], in_use=1.0 / largest)
    assert result.diverges is not None
    # Rates lie a factor of 1.26 apart; 2 gᵀg / gᵀHg itself is 1.06 times the bound here.
    assert 1.0 <= result.diverges / (2.0 / largest) <= 1.4


SPECTRA = {
    "one": [5.0],
    "two": [10.0, 3.0],
    "geometric": [10.0 ** (-k / 7) for k in range(21)] * 5,
    "even": [0.14 * k for k in range(1, 51)],
    "power": [7.0 * k**-2.0 for k in range(1, 30)],
    "an outlier": [7.0, *[0.05] * 100],
}


@pytest.mark.parametrize("share", [0.1, 1.0])
@pytest.mark.parametrize("spectrum", SPECTRA.values(), ids=SPECTRA)
def test_divergence_is_within_a_factor_of_two_of_the_bound(spectrum, share):
    """From where all directions are as far from their minimum. Where the steep ones are nearer a
    step must overshoot by more before the loss shows it: it says so at 2 gᵀg / gᵀHg at the latest."""
    largest = max(spectrum)
    result = ranged(spectrum, in_use=share / largest, dtype=torch.float64)
    assert result.diverges is not None
    assert 1.0 <= result.diverges / (2.0 / largest) <= 2.0


def test_divergence_with_one_curvature_is_the_bound_to_the_distance_of_the_rates():
    for rates in (60, 120, 300):
        result = ranged([5.0], in_use=0.2, rates=rates, dtype=torch.float64)
        assert result.diverges is not None
        assert 1.0 <= result.diverges / (2.0 / 5.0) <= 10.0 ** (6.0 / (rates - 1))


@pytest.mark.parametrize("constant", [100.0, -100.0, -2.75], ids=["large", "negative", "from zero"])
def test_a_constant_in_the_loss_changes_nothing(constant):
    plain = ranged([4.0, 1.0, 0.5], in_use=0.1, dtype=torch.float64)
    moved = ranged([4.0, 1.0, 0.5], in_use=0.1, dtype=torch.float64, constant=constant)
    assert moved.initial == pytest.approx(plain.initial + constant)
    found = (plain.best, plain.steepest, plain.suggested, plain.diverges)
    assert None not in found
    assert (moved.best, moved.steepest, moved.suggested, moved.diverges) == found


def test_a_sweep_ends_for_good_and_not_at_a_loss_thrown_up_once():
    result = ranged([4.0, 1.0, 0.5], in_use=0.1, dtype=torch.float64)
    far = result.initial + FAR_AHEAD * (result.bound - result.initial)
    assert all(loss > far for loss in result.sweep[-SUSTAINED:])
    assert all(loss <= far for loss in result.sweep[:-SUSTAINED])


def test_slopes_are_those_of_savitzky_and_golay():
    noisy = np.random.default_rng(0).normal(size=40).cumsum()
    window = 2 * HALF_WINDOW + 1
    # Window by window the same polynomial; the ends, where SciPy extrapolates, are left out.
    expected = savgol_filter(noisy, window, polyorder=2, deriv=1)[HALF_WINDOW:-HALF_WINDOW]
    np.testing.assert_allclose(slopes(noisy.tolist()), expected, rtol=1e-10, atol=1e-12)
    assert slopes([1.0, 2.0, 3.0]) == []


def test_the_smoothed_loss_is_a_mean_of_the_past_without_a_lag_at_its_start():
    seen = smoothed([3.0] * 5 + [1.0] * 60)
    assert seen[:5] == pytest.approx([3.0] * 5, rel=1e-12)
    # Weight 0.9 of the past: after n more losses the share 0.9ⁿ (1 − 0.9⁵) / (1 − 0.9ⁿ⁺⁵) is left.
    for n in (1, 10, 60):
        left = 0.9**n * (1 - 0.9**5) / (1 - 0.9 ** (n + 5))
        assert seen[4 + n] == pytest.approx(1.0 + 2.0 * left, rel=1e-12)


@pytest.mark.parametrize("spectrum", SPECTRA.values(), ids=SPECTRA)
def test_where_a_sweep_learns_fastest_and_a_third_of_where_it_learns_no_more_are_stable(spectrum):
    largest = max(spectrum)
    result = ranged(spectrum, in_use=1.0 / largest, dtype=torch.float64)
    assert result.steepest is not None and result.suggested is not None
    assert result.steepest < 2.0 / largest
    # Nor is it timid: within a factor of five of the bound.
    assert 0.4 / largest < result.suggested < 2.0 / largest
    said = rate_range(result)
    assert f"a third of where it learns no more: {format_number(result.suggested)}" in said
    assert f"a rising rate learns fastest at {format_number(result.steepest)} and " in said


def test_a_loss_that_nothing_lowers_has_no_best_rate():
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    recorder = TapeRecorder()
    with recorder:
        loss = model(torch.ones(1, 1)).square().sum()
    step = RecordedStep((recorder.finish(loss),), ({"lr": 0.1},))
    result = learning_rate_range(
        Start(torch.optim.SGD(model.parameters(), lr=0.1)),
        [step],
        [step],
        in_use=0.1,
        deadline=math.inf,
    )
    assert result is not None
    assert (result.best, result.steepest, result.suggested) == (None, None, None)
    assert result.diverges is None
