"""Shares of a spectral density, as the report says them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from convlint.gpu_probes.observations import Curvature, Measurement
from convlint.report.density import effective_dimension, share_between


def measured(density: tuple[tuple[float, float], ...], runs: tuple[int, ...]) -> Curvature:
    m = Measurement(9.0, unit="loss per squared parameter", n=20)
    return Curvature(
        "end",
        "double backward on the loss",
        1000,
        m,
        m,
        None,
        1.0,
        None,
        20,
        density=density,
        density_runs=runs,
    )


def test_shares_of_a_density_carry_the_standard_error_of_its_random_vectors():
    nodes = ((9.0, 0.1), (0.0, 0.3), (1.0, 0.15), (0.0, 0.4), (1.0, 0.05))
    seen = measured(nodes, (2, 2))
    share, error = share_between(seen, -1.0, 0.5)
    assert share == pytest.approx(0.7)
    # The vectors say 0.6 and 0.8: a deviation of 0.1414 over the root of two.
    assert error == pytest.approx(0.1)
    one = share_between(replace(seen, density_runs=(4,)), 5.0, 10.0)
    assert one == (pytest.approx(0.1), None)


def test_the_effective_dimension_counts_what_is_steeper_than_a_scale():
    # Of 1,000 eigenvalues 10 are 100, 20 are as large as the scale, 300 negative, the rest zero.
    seen = measured(((100.0, 0.01), (0.5, 0.02), (-3.0, 0.3), (0.0, 0.67)), (4,))
    expected = 10 * 100.0 / 100.5 + 20 / 2
    assert effective_dimension(seen, 0.5) == pytest.approx(expected, rel=1e-12)
    assert effective_dimension(seen, 1e-9) == pytest.approx(30.0, rel=1e-6)
