"""Prechelt's measures by hand, and what the rule about overfitting makes of them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from convlint.curves.assemble import assemble
from convlint.curves.prechelt import generalisation_loss, progress_quotient, training_progress
from convlint.curves.readers import open_log
from convlint.findings import Severity
from convlint.rules import find_rule

K = np.arange(60.0)


@pytest.fixture
def pair(tmp_path):
    """The two losses compared, and the severities of ``overfitting``."""

    def compared(training, validation):
        rows = "".join(
            f"{k},{t:.6f},{v:.6f}\n"
            for k, (t, v) in enumerate(zip(training, validation, strict=True))
        )
        file = tmp_path / "log.csv"
        file.write_text("epoch,loss,val_loss\n" + rows)
        curves = assemble(open_log(str(file)), str(file))
        rule = find_rule("overfitting")
        assert rule is not None
        return curves.pairs[0], [finding.severity for finding in rule.logged(curves)]

    return compared


def test_generalisation_loss_is_over_the_best_so_far():
    seen = generalisation_loss(np.array([2.0, 1.0, 1.1, 0.8, 1.0]))
    assert seen == pytest.approx([0.0, 0.0, 10.0, 0.0, 25.0])
    assert np.isnan(generalisation_loss(np.array([-1.0, -2.0]))).all()


def test_training_progress_is_the_mean_over_the_least_of_a_strip():
    # Mean 1.1 over least 1.0, in per mille.
    assert training_progress(np.array([1.2, 1.1, 1.0])) == pytest.approx(100.0)
    assert training_progress(np.array([1.0, 1.0])) == 0.0
    assert math.isnan(training_progress(np.array([0.0, 1.0])))


def test_the_quotient_needs_progress():
    assert progress_quotient(25.0, 100.0) == pytest.approx(0.25)
    assert progress_quotient(25.0, 0.0) is None
    assert progress_quotient(float("nan"), 100.0) is None


def test_a_pair_has_both_for_each_evaluation_since_the_best(pair):
    training = 2.0 * 0.9**K
    validation = np.where(K < 20, 1.0 - 0.01 * K, 0.81 + 0.01 * (K - 19))
    seen, _ = pair(training, validation)
    assert seen.best_step == 19
    assert seen.generalisation_loss[10] == pytest.approx(100.0 * (0.91 / 0.81 - 1.0), rel=1e-4)
    # Five epochs at a factor of 0.9 each: the mean of 0.9^-j, j = 0 … 4, over one.
    progress = 1000.0 * (np.mean(0.9 ** -np.arange(5.0)) - 1.0)
    assert seen.progress_quotient[10] == pytest.approx(
        seen.generalisation_loss[10] / progress, rel=1e-3
    )


@pytest.mark.parametrize(("above", "found"), [(4.9, []), (5.1, [Severity.WARNING])])
def test_five_percent_in_each_of_the_last_three_evaluations(pair, above, found):
    """Training goes on gaining, so that the quotient says nothing."""
    rise = np.minimum(np.maximum(K - 20, 0.0) / 30.0, 1.0)
    validation = np.where(K < 20, 2.0 - 0.05 * K, 1.0 + 0.01 * above * rise)
    assert pair(2.0 * 0.9**K, validation)[1] == found


def test_two_evaluations_are_not_enough(pair):
    validation = np.where(K < 20, 2.0 - 0.05 * K, 1.0 + 0.001 * (K - 20))
    validation[-2:] = 1.5
    assert pair(2.0 * 0.9**K, validation)[1] == []


def test_a_small_rise_is_noted_once_training_has_ended(pair):
    validation = np.where(K < 20, 2.0 - 0.05 * K, 1.0 + 0.001 * (K - 20))
    nearly_done = np.where(K < 20, 2.0 - 0.05 * K, 1.0 - 1e-5 * (K - 20))
    assert pair(nearly_done, validation)[1] == [Severity.INFO]
    assert pair(2.0 * 0.9**K, validation)[1] == []


def test_what_early_stopping_leaves_is_a_note(pair):
    def rising_from(best):
        return np.where(best > K, 2.0 - 0.02 * K, 2.0 - 0.02 * best + 0.05 * (K - best))

    assert pair(2.0 * 0.9**K, rising_from(30))[1] == [Severity.WARNING]
    assert pair(2.0 * 0.9**K, rising_from(45))[1] == [Severity.INFO]
    assert pair(2.0 * 0.9**K, rising_from(52))[1] == []


def test_a_score_on_lines_of_its_own_is_placed_by_its_line(tmp_path):
    lines = []
    for k in range(40):
        lines.append(
            f"Ep {k // 4} (Step {50 * k:06d}): Train loss {2.0 * 0.8**k:.4f}, Val loss {1 + abs(k - 8) / 20:.3f}"
        )
        if k % 4 == 3:
            lines.append(
                f"Training accuracy: {80 + k / 4:.2f}% | Validation accuracy: {70 + k / 4:.2f}%"
            )
    file = tmp_path / "train.log"
    file.write_text("\n".join(lines) + "\n")
    seen = assemble(open_log(str(file)), str(file)).pairs[0]
    assert (seen.best_step, seen.score_best_step) == (400.0, 1950.0)
