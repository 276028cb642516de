"""A sweep of the learning rate is told from a training run, and says what it is made for."""

from __future__ import annotations

import json

import numpy as np
import pytest

from convlint.report.logged import verdict
from convlint.rules import all_rules

RATES = np.geomspace(1e-5, 10.0, 120)
"""Twenty a decade: every second one is seen."""

FALLS, LEAVES = 0.01, 1.0
"""The rate at which the loss falls fastest, and the one from which on it rises."""

LOSS = np.where(
    RATES < LEAVES,
    0.5 + 1.8 / (1.0 + (RATES / FALLS) ** 2),
    0.5 * (RATES / LEAVES) ** 2,
) + 0.005 * np.random.default_rng(0).normal(size=RATES.size)


def findings(curves):
    return [f for r in all_rules() if r.has_logged() for f in r.logged(curves)]


def printed(rates, losses):
    rows = zip(rates, losses, strict=True)
    return "\n".join(f"step {k} loss: {t:.5f} lr: {r:.6e}" for k, (r, t) in enumerate(rows))


def test_where_the_loss_falls_fastest_and_leaves(read):
    curves = read(printed(RATES, LOSS))
    test = curves.range_test
    assert (test.first, test.last) == pytest.approx((1e-5, 10.0), rel=1e-5)
    # The exponential mean lags by ten rates, a decade.
    assert FALLS < test.steepest < 12.0 * FALLS
    assert test.leaves == pytest.approx(LEAVES, rel=0.3)
    assert test.suggested == pytest.approx(test.lowest / 3.0)
    assert verdict(curves, findings(curves)) == "range test"
    (found,) = findings(curves)
    assert found.slug == "range-test" and "rises for good from" in found.message


@pytest.mark.parametrize("lost", [0, 12])
def test_forms_of_lr_finders(read, lost):
    losses = np.concatenate([LOSS, np.full(lost, np.nan)])
    rates = np.concatenate([RATES, RATES[-1] * 1.12 ** np.arange(1, lost + 1)])
    history = {"lr": rates.tolist(), "loss": [None if np.isnan(v) else v for v in losses]}
    for text, name in (
        (json.dumps(history), "history.json"),
        ("lr,loss\n" + "\n".join(f"{r},{v}" for r, v in zip(rates, losses, strict=True)), "a.csv"),
    ):
        curves = read(text, name)
        assert verdict(curves, findings(curves)) == "range test"
        assert curves.range_test.leaves == pytest.approx(LEAVES, rel=0.3)


def test_a_sweep_that_still_learns_suggests_no_rate(read):
    test = read(printed(RATES[:85], LOSS[:85])).range_test
    assert test.leaves is None and test.suggested is None


def test_a_loss_that_only_jitters_falls_nowhere(read):
    jitter = 2.3 + 0.05 * np.random.default_rng(1).normal(size=RATES.size)
    curves = read(printed(RATES, jitter))
    assert curves.range_test.steepest is None
    assert "never falls" in findings(curves)[0].message


@pytest.mark.parametrize(
    "rates",
    [
        np.linspace(1e-5, 1e-1, 120),
        np.geomspace(1e-3, 5e-2, 120),
        np.concatenate([np.geomspace(1e-5, 1e-2, 60), np.full(60, 1e-2)]),
        np.geomspace(1e-1, 1e-4, 120),
    ],
    ids=["linear warm-up", "less than two decades", "warm-up, then constant", "decay"],
)
def test_schedules_are_no_range_test(read, rates):
    diverging = 2.0 * 1.05 ** np.arange(120)
    curves = read(printed(rates, diverging))
    assert curves.range_test is None
    assert verdict(curves, findings(curves)) == "diverged"
