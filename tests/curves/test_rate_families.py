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
    assert bench.outcomes(FAMILIES[family], 0.0, [0]) == (1, 0)
    assert bench.outcomes(FAMILIES[family], 1e-4, range(2)) == (2, 0)


@pytest.mark.parametrize(
    ("family", "rate", "tolerance"),
    [
        # Two eigenvalues, one far and one near: the slow one is all that is left after few steps.
        ("gradient descent, κ = 50", (49 / 51) ** 2, 1e-4),
        ("gradient descent at 1/L", 0.98**2, 1e-4),
        # k² times a power while both eigenvalues still count.
        ("heavy ball, κ = 50", ((50**0.5 - 1) / (50**0.5 + 1)) ** 2, 0.1),
        # Sixty steps are short of the power law's own range.
        ("spectrum i⁻²", 0.5, 0.05),
        ("SGD, rate 2/(k + 4)", 1.0, 0.05),
        ("Newton", 2.0, 0.05),
    ],
)
def test_clean_rates_are_those_of_theory(family, rate, tolerance):
    seen = bench.convergence(FAMILIES[family].run.losses)
    assert seen.rate.value == pytest.approx(rate, rel=tolerance)


@pytest.mark.parametrize("noise", [0.01, 0.03, 0.1])
@pytest.mark.parametrize("family", FAMILIES)
def test_noise_never_makes_the_class_wrong(family, noise):
    seeds = range(1000, 1002)
    assert bench.outcomes(FAMILIES[family], noise, seeds)[1] == 0
    assert bench.outcomes(FAMILIES[family], noise, seeds, with_norms=True)[1] == 0


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "Newton"])
def test_one_percent_of_noise_leaves_most_families_decided(family):
    # 96 % of the draws of all thirteen; the least decided family 85 %.
    assert bench.outcomes(FAMILIES[family], 0.01, range(2000, 2004))[0] >= 3


def test_gradient_norms_decide_newton_where_its_loss_cannot():
    newton = FAMILIES["Newton"]
    assert bench.outcomes(newton, 0.01, range(1000, 1010))[0] == 0
    assert bench.outcomes(newton, 0.01, range(1000, 1010), with_norms=True)[0] >= 8


def test_bfgs_is_superlinear_and_never_called_linear():
    family = bench.Family(("superlinear", "quadratic"), bench.bfgs())
    assert bench.outcomes(family, 0.0, [0]) == (1, 0)
    for noise in (1e-3, 1e-2, 3e-2, 1e-1):
        assert bench.outcomes(family, noise, range(2), with_norms=True)[1] == 0


@pytest.mark.parametrize(
    ("family", "rate", "tolerance"),
    [
        # ((κ - 1) / (κ + 1))² and (1 - 1 / κ)² of κ = 50: fits of clean series.
        ("gradient descent, κ = 50", (49.0 / 51.0) ** 2, 1e-5),
        ("gradient descent at 1/L", 0.98**2, 1e-5),
        # A polynomial goes before the power: 10 % is what 60 steps allow.
        ("heavy ball, κ = 50", ((50.0**0.5 - 1.0) / (50.0**0.5 + 1.0)) ** 2, 0.1),
        # Exponents of the limit, from which 60 steps are still some percent away.
        ("spectrum i⁻²", 0.5, 0.04),
        ("SGD, rate 2/(k + 4)", 1.0, 0.05),
        ("Newton", 2.0, 0.05),
    ],
)
def test_rates_are_those_of_theory(family, rate, tolerance):
    seen = bench.convergence(FAMILIES[family].run.losses).rate
    assert seen is not None
    assert seen.value == pytest.approx(rate, rel=tolerance)
