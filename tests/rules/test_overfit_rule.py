"""CVG006 on observations built by hand."""

from __future__ import annotations

import pytest
from observed import observations

from convlint.findings import Severity
from convlint.gpu_probes.observations import OverfitAttempt, OverfitOneBatch
from convlint.rules.convergence.cannot_overfit_batch import CannotOverfitBatch


def attempt(optimizer: str, excess: float, *, falling: bool = False) -> OverfitAttempt:
    return OverfitAttempt(optimizer, 0.01, 200, 2.3, 2.3 * excess, excess, falling, True)


def tried(outcome: str, *excesses: float, parameters: int = 9000) -> OverfitOneBatch:
    names = ("SGD", "Adam", "Adam", "Adam")
    attempts = tuple(attempt(n, e) for n, e in zip(names, excesses, strict=False))
    return OverfitOneBatch(attempts, 0.0, 200, outcome, parameters=parameters, targets=64)


def findings(overfit: OverfitOneBatch | None):
    return list(CannotOverfitBatch().measured(observations(overfit=overfit)))


def test_a_batch_nothing_learns_is_reported_with_what_is_left():
    (finding,) = findings(tried("does not fit", 0.86, 0.68, 0.67, 0.98))
    assert finding.severity is Severity.WARNING
    assert "67 %" in finding.message


@pytest.mark.parametrize(
    "overfit",
    [
        None,
        tried("fits", 0.02),
        tried("undetermined", 0.9, 0.8),
        tried("does not fit", 0.6, 0.3, 0.35, 0.5),
        tried("does not fit", 0.9, 0.9, 0.9, 0.9, parameters=200),
    ],
    ids=["not tried", "learnt", "cut short", "mostly learnt", "small model"],
)
def test_everything_else_is_silent(overfit):
    assert findings(overfit) == []


def test_a_batch_only_adam_learns_is_a_note_on_the_optimizer():
    (finding,) = findings(tried("fits with another optimizer", 0.97, 0.03))
    assert finding.severity is Severity.INFO
    assert "Adam" in finding.help


def test_the_reading_names_the_best_attempt():
    reading = CannotOverfitBatch().reading(observations(overfit=tried("fits", 0.02)))
    assert reading is not None
    assert "SGD" in reading
