"""The paired test against SciPy and against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from convlint.gpu_probes.horizon.paired_test import (
    holm,
    mean_and_error,
    paired_tail,
    student_t_tail,
)


@pytest.mark.parametrize("degrees_of_freedom", [1, 2, 3, 4, 5, 8, 15])
@pytest.mark.parametrize("t", [-3.0, -0.2, 0.0, 0.7, 2.0, 12.0])
def test_the_tail_of_student_t_is_scipys(t, degrees_of_freedom):
    # A finite sum of at most eight terms near one: sixteen digits, less the cancellation at the end.
    assert student_t_tail(t, degrees_of_freedom) == pytest.approx(
        stats.t.sf(t, degrees_of_freedom), rel=1e-6, abs=1e-14
    )


def test_no_degree_of_freedom_has_no_tail():
    with pytest.raises(ValueError, match="0 degrees of freedom"):
        student_t_tail(1.0, 0)


def test_the_paired_test_is_scipys():
    with_, without = [1.0, 1.2, 0.9, 1.4], [1.5, 1.6, 1.1, 2.0]
    differences = [b - a for a, b in zip(with_, without, strict=True)]
    expected = stats.ttest_rel(without, with_, alternative="greater").pvalue
    assert paired_tail(differences) == pytest.approx(expected, rel=1e-9)


def test_one_difference_and_none_of_any_size_say_nothing():
    assert paired_tail([5.0]) == 1.0
    assert paired_tail([0.0, 0.0, 0.0]) == 1.0
    assert math.isinf(mean_and_error([5.0])[1])


def test_equal_differences_are_certain():
    assert paired_tail([0.5, 0.5, 0.5]) == 0.0


def test_holm_corrects_the_smallest_most_and_keeps_the_order():
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
