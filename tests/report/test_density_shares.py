"""Shares of a spectral density, as the report says them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from convlint.gpu_probes.observations import Curvature, Measurement
from convlint.report.density import share_between


def test_shares_of_a_density_carry_the_standard_error_of_its_random_vectors():
    m = Measurement(9.0, unit="loss per squared parameter", n=20)
    seen = Curvature(
        "end",
        "double backward on the loss",
        1000,
        m,
        m,
        None,
        1.0,
        None,
        20,
        density=((9.0, 0.1), (0.0, 0.3), (1.0, 0.15), (0.0, 0.4), (1.0, 0.05)),
        density_runs=(2, 2),
    )
    share, error = share_between(seen, -1.0, 0.5)
    assert share == pytest.approx(0.7)
    # The vectors say 0.6 and 0.8: a deviation of 0.1414 over the root of two.
    assert error == pytest.approx(0.1)
    one = share_between(replace(seen, density_runs=(4,)), 5.0, 10.0)
    assert one == (pytest.approx(0.1), None)
