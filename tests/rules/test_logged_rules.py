"""What rules about logs leave alone, and what they only note."""

from __future__ import annotations

import numpy as np
import pytest

from convlint.curves.assemble import assemble
from convlint.curves.readers import open_log
from convlint.findings import Severity
from convlint.rules import find_rule

K = np.arange(120.0)


@pytest.fixture
def found(tmp_path):
    """Severities of the findings of one rule in a table of columns."""

    def judge(slug, known=None, **table):
        names = list(table)
        rows = zip(*table.values(), strict=True)
        file = tmp_path / "log.csv"
        file.write_text(
            "\n".join([",".join(names), *(",".join(f"{v:.6g}" for v in row) for row in rows)])
        )
        rule = find_rule(slug)
        assert rule is not None
        curves = assemble(open_log(str(file)), str(file), **(known or {}))
        return [finding.severity for finding in rule.logged(curves)]

    return judge


def noise(scale, seed=0):
    return scale * np.random.default_rng(seed).normal(size=K.size)


FALLING = 2.0 * 0.95**K + 0.05
RISING = 0.5 + 1.5 * 0.9**K + 0.01 * np.maximum(0.0, K - 30)


def test_overfitting_is_a_note_while_the_score_improves(found):
    assert found("overfitting", step=K, loss=FALLING, val_loss=RISING) == [Severity.WARNING]
    improving = {"val_accuracy": 0.9 - 0.5 * 0.98**K}
    seen = found("overfitting", step=K, loss=FALLING, val_loss=RISING, **improving)
    assert seen == [Severity.INFO]


def test_a_validation_loss_that_rises_with_the_training_loss_is_no_overfitting(found):
    assert found("overfitting", step=K, loss=RISING, val_loss=RISING) == []


def test_early_stopping_leaves_its_patience_behind_the_best(found):
    late = 0.5 + 1.5 * 0.97**K + 0.05 * np.maximum(0.0, K - 110)
    assert found("overfitting", step=K, loss=FALLING, val_loss=late) == []


def test_a_flat_loss_may_be_that_of_a_trained_model(found):
    flat = 0.3 + noise(0.002)
    assert found("underfitting", step=K, loss=flat) == [Severity.INFO]
    assert found("underfitting", {"baseline": 2.3}, step=K, loss=flat) == []
    assert found("underfitting", {"baseline": 0.31}, step=K, loss=flat) == [Severity.WARNING]
    at_chance = found("underfitting", step=K, loss=flat, accuracy=0.1 + noise(0.003, 1))
    assert at_chance == [Severity.WARNING]
    well = found("underfitting", step=K, loss=flat, accuracy=0.93 + noise(0.003, 1))
    assert well == [Severity.INFO]


def test_slowness_is_judged_by_the_plan(found):
    slow = 2.3 * 0.9999**K
    assert found("slow-curve", step=K, loss=slow) == [Severity.INFO]
    assert found("slow-curve", {"planned_steps": 500.0}, step=K, loss=slow) == [Severity.WARNING]
    assert found("slow-curve", {"planned_steps": 1e6}, step=K, loss=slow) == []


def test_a_rise_at_the_very_beginning_is_no_spike(found):
    # As the queue of negatives of momentum contrast fills, the loss rises and then comes down.
    k = np.arange(600.0)
    loss = np.where(k < 50, 5.0 + 0.08 * k, 9.0 * 0.999 ** (k - 50))
    assert (
        found("loss-spikes", step=k, loss=loss + 0.05 * np.random.default_rng(0).normal(size=600))
        == []
    )


def test_every_second_step_of_a_swing_is_no_spike(found):
    k = np.arange(300.0)
    loss = (2.0 * 0.99**k + 0.2) * (1.0 + 0.25 * (-1.0) ** k)
    assert found("loss-spikes", step=k, loss=loss) == []


def test_a_few_stages_are_no_oscillation(found):
    stage = 0.97 ** np.arange(200.0)
    loss = np.concatenate([0.3 + stage, 0.5 + stage, 0.7 + stage])
    assert found("oscillating-curve", step=np.arange(600.0), loss=loss) == []


def test_parts_beside_the_loss_itself_are_not_judged(found):
    assert found("diverged-curve", step=K, loss=FALLING, join_loss=1.0 + 0.05 * K) == []
    assert found("diverged-curve", step=K, join_loss=1.0 + 0.05 * K) == [Severity.ERROR]


def test_a_score_of_neither_a_half_nor_a_third_is_not_chance(found):
    flat = 1.77 + noise(0.004)
    assert found("underfitting", step=K, loss=flat, accuracy=0.369 + noise(0.003, 1)) == [
        Severity.INFO
    ]


def test_noise_alone_gains_nothing_that_a_plateau_could_follow(found):
    k = np.arange(400.0)
    loss = 2.1 + 0.1 * np.random.default_rng(3).normal(size=400)
    assert found("plateau-reached", step=k, loss=loss) == []


def test_a_spike_that_heals_at_once_is_a_note(found):
    once = FALLING + noise(0.01)
    once[80] += 3.0
    assert found("loss-spikes", step=K, loss=once) == [Severity.INFO]
    assert found("loss-spikes", step=K, loss=FALLING + noise(0.01)) == []


@pytest.mark.parametrize("name", ["d_loss", "loss_G", "policy_loss", "critic/loss"])
def test_losses_of_a_game_are_judged_only_when_they_are_lost(found, name):
    rising = 1.0 * 1.05**K
    assert found("diverged-curve", step=K, **{name: rising}) == []
    lost = np.where(K > 60, np.nan, 1.0)
    assert found("diverged-curve", step=K, **{name: lost}) == [Severity.ERROR]


def test_cyclic_rates_swing_losses_on_purpose(found):
    phase = np.sin(2 * np.pi * K / 10)
    swinging = 1.5 + 0.8 * phase
    assert found("oscillating-curve", step=K, loss=swinging) == [Severity.WARNING]
    assert found("oscillating-curve", step=K, loss=swinging, lr=0.1 * (1.1 + phase)) == []


def test_a_plateau_is_none_while_training_still_falls(found):
    flat = 0.5 + 1.5 * 0.8**K + noise(0.002)
    assert found("plateau-reached", step=K, loss=flat, val_loss=flat + 0.1) == [Severity.INFO]
    assert found("plateau-reached", step=K, loss=FALLING, val_loss=flat) == []
