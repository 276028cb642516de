"""Losses that take turns under one name are no oscillation; a bounce of too long steps is one."""

from __future__ import annotations

import numpy as np
import pytest

from convlint.curves.alternation import bounces, turns_of
from convlint.curves.assemble import assemble
from convlint.curves.readers import open_log
from convlint.report.logged import verdict
from convlint.rules import all_rules

K = np.arange(150.0)


def noise(seed, deviation):
    return deviation * np.random.default_rng(seed).normal(size=K.size)


def in_turn(*series):
    return np.stack(series, axis=1).ravel()


FALLS = 0.5 + 2.0 * np.exp(-K / 40) + noise(0, 0.04)
FALLS_TOO = 0.1 + 0.8 * np.exp(-K / 30) + noise(1, 0.02)
TASKS = {
    "two that fall": (in_turn(FALLS, FALLS_TOO), 2, "healthy"),
    "three that fall": (in_turn(FALLS, 3.0 + FALLS_TOO, FALLS_TOO), 3, "healthy"),
    "one that falls, one above it that does not": (
        in_turn(FALLS, 4.0 + noise(2, 0.1)),
        2,
        "undetermined",
    ),
    "one that falls, one that stays where both began": (
        in_turn(FALLS, 2.5 + noise(2, 0.03)),
        2,
        "undetermined",
    ),
    "discriminator and generator at rest": (
        in_turn(1.37 + noise(3, 0.08), 0.75 + noise(4, 0.08)),
        2,
        "undetermined",
    ),
    "discriminator and generator that cross": (
        in_turn(1.3 - 0.4 * K / 150 + noise(5, 0.05), 0.8 + 1.5 * K / 150 + noise(6, 0.1)),
        2,
        "undetermined",
    ),
}


@pytest.fixture
def read(tmp_path):
    """The curves of a log of one loss."""

    def write(losses):
        file = tmp_path / "train.log"
        file.write_text("\n".join(f"step {k} loss: {v:.5f}" for k, v in enumerate(losses)))
        return assemble(open_log(str(file)), str(file))

    return write


def judged(curves):
    return verdict(curves, [f for r in all_rules() if r.has_logged() for f in r.logged(curves)])


@pytest.mark.parametrize("name", TASKS)
def test_tasks_in_turn_are_judged_apart(read, name):
    losses, count, expected = TASKS[name]
    curves = read(losses)
    assert curves.curves[0].turns == count
    assert judged(curves) == expected
    assert any("takes turns" in remark for remark in curves.remarks)


def two_cycle(start, rate=1.2, steps=150):
    """Gradient descent on (x² − 1)² / 4 beyond its stability limit of 1."""
    losses, x = [], start
    for _ in range(steps):
        losses.append((x * x - 1.0) ** 2 / 4.0 + 0.05)
        x -= rate * x * (x * x - 1.0)
    return np.array(losses)


BOUNCES = {
    "descent beyond its stability limit": two_cycle(1.2) * (1.0 + noise(0, 0.01)),
    "grown within fifteen steps": 2.0 + 0.7 * np.minimum(K / 15, 1.0) * (-1.0) ** K + noise(1, 0.1),
    "one slip of the phase": 2.0 + 0.7 * np.where(K < 80, 1.0, -1.0) * (-1.0) ** K + noise(2, 0.05),
    "a slow swing": 2.0 + 0.7 * np.sin(K / 2.0) + noise(3, 0.05),
    "jumps without order": np.random.default_rng(0).uniform(0.3, 6.0, size=200),
}


@pytest.mark.parametrize("name", BOUNCES)
def test_one_loss_that_bounces_oscillates(read, name):
    curves = read(BOUNCES[name])
    assert curves.curves[0].turns == 0
    assert judged(curves) == "oscillating"


@pytest.mark.parametrize(("start", "rate"), [(1.02, 1.2), (1.2, 1.3), (0.98, 1.3)])
def test_descent_that_leaves_its_minimum_is_sick(read, start, rate):
    # Two losses in turn, and four beyond the next bifurcation.
    losses = two_cycle(start, rate) * (1.0 + noise(0, 0.01))
    assert len(turns_of(losses)) in (2, 4)
    assert judged(read(losses)) in ("oscillating", "diverged")


def test_a_bounce_that_grows_for_ever_diverges(read):
    growing = 2.0 + 0.02 * 1.06**K * (1.0 + (-1.0) ** K)
    assert judged(read(growing)) in ("diverged", "oscillating")


def test_two_tasks_that_rise_diverge(read):
    curves = read(in_turn(2.0 * 1.02**K + noise(0, 0.02), 6.0 * 1.02**K + noise(1, 0.02)))
    assert judged(curves) == "diverged"


@pytest.mark.parametrize("seed", range(5))
def test_no_turns_by_chance(seed):
    random = np.random.default_rng(seed)
    for values in (
        random.normal(size=120),
        random.gamma(4.0, size=60),
        np.cumsum(random.normal(size=200)),
        0.3 + 2.0 * np.exp(-K / 30.0) + 0.1 * random.normal(size=K.size),
        2.0 * 0.8**K,
    ):
        assert turns_of(values) == ()


def test_a_swing_from_the_first_value_on_is_no_bounce_for_certain():
    even = 2.0 + 0.7 * (-1.0) ** K + noise(0, 0.1)
    assert not bounces(even, turns_of(even))
