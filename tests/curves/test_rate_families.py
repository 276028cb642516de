"""The families of ``bench/convergence_rates.py``: never a wrong class, mostly a decided one."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "bench" / "convergence_rates.py"
spec = importlib.util.spec_from_file_location("bench_convergence_rates", FILE)
assert spec is not None and spec.loader is not None
bench = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bench)

FAMILIES = bench.families()


def test_there_are_fourteen():
    assert len(FAMILIES) == 14


@pytest.mark.parametrize("family", FAMILIES)
def test_clean_series_are_decided(family):
    right, losses = FAMILIES[family]
    assert bench.outcomes(right, losses, 0.0, 1) == (1, 0)
    assert bench.outcomes(right, losses, 1e-4, 2) == (2, 0)


@pytest.mark.parametrize("noise", [0.01, 0.1])
@pytest.mark.parametrize("family", FAMILIES)
def test_noise_never_makes_the_class_wrong(family, noise):
    right, losses = FAMILIES[family]
    assert bench.outcomes(right, losses, noise, 2)[1] == 0


def test_bfgs_is_superlinear_and_never_called_linear():
    losses = bench.bfgs()
    assert bench.outcomes(("superlinear", "quadratic"), losses, 0.0, 1) == (1, 0)
    for noise in (1e-3, 1e-2, 3e-2, 1e-1):
        assert bench.outcomes(("superlinear", "quadratic"), losses, noise, 2)[1] == 0
