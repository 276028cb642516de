"""Intervals against tabulated quantiles."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from convlint.gpu_probes.quantities.uncertainty import measured_mean, student_t


@pytest.mark.parametrize("degrees", [1, 2, 3, 5, 10, 11, 15, 30, 100, 10_000])
def test_student_quantiles(degrees: int) -> None:
    # Printed table to four digits, then a third-order expansion.
    assert student_t(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=2e-4)


def test_one_sample_has_no_interval() -> None:
    measured = measured_mean(2.0, 0.5, 1)
    assert measured.value == 2.0
    assert measured.ci is None


def test_a_mean_that_is_not_finite_says_so() -> None:
    measured = measured_mean(math.nan, 0.5, 10)
    assert measured.value is None
    assert measured.ci is None
    assert measured.note == "not finite"
