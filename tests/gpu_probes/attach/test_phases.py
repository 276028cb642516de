"""A hold that leaves time for a real step, and an end that waits for the first one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from convlint.gpu_probes.attach.phases import Phases, first_step_patience


class Ended(Exception):
    """The probe was concluded."""


class Clockwork:
    """An observer whose time is what the test says."""

    def __init__(self, budget: float = 30.0, hold: int = 8) -> None:
        self.now = 0.0
        self.phase = "hold"
        self.held = self.backwards = self.steps = 0
        self.settings = SimpleNamespace(budget=budget, hold=hold, steps=30)
        self.curvature = SimpleNamespace(seconds=0.0, awaited=lambda: None)
        self.ranks = SimpleNamespace(active=False)
        self.pace = SimpleNamespace(evaluation=0.0)
        self.probe = SimpleNamespace(seconds=lambda: self.now, conclude=self.conclude)
        self.measuring = SimpleNamespace(skip=lambda name, reason: self.told.append(reason))
        self.optimizers = SimpleNamespace(clear_gradients=lambda: None)
        self.forward = SimpleNamespace(flows={})
        self.losses = SimpleNamespace(close=lambda: None)
        self.window_open = True
        self.told: list[str] = []
        self.ended = ""

    def conclude(self, stopped: str) -> None:
        self.ended = stopped
        raise Ended

    def batches(self, phases: Phases, seconds: float) -> None:
        """Batches of so many seconds, held as long as they are, until the probe ends."""
        while True:
            self.now += seconds / 3
            self.backwards += 1
            if phases.hold_is_over:
                self.phase = "run"
            phases.before_backward()
            self.now += 2 * seconds / 3
            self.pace.evaluation = seconds if self.backwards > 1 else 0.0
            if self.phase == "hold":
                self.held += 1
                phases.end_hold_when_due()
            else:
                self.steps += 1
            if self.steps == self.settings.steps:
                self.conclude("steps")
            phases.stop_at_budget()


def ran(seconds: float, **options: Any) -> Clockwork:
    clock = Clockwork(**options)
    with pytest.raises(Ended):
        clock.batches(Phases(clock), seconds)  # type: ignore[arg-type]
    return clock


def test_quick_batches_are_all_held_and_all_steps_made() -> None:
    clock = ran(0.1)
    assert (clock.held, clock.steps, clock.ended, clock.told) == (8, 30, "steps", [])


@pytest.mark.parametrize(("seconds", "held"), [(4.0, 3), (8.0, 2), (12.0, 1), (20.0, 1)])
def test_slow_batches_leave_time_for_a_real_step(seconds: float, held: int) -> None:
    clock = ran(seconds)
    assert clock.held == held
    assert clock.steps >= 1
    assert clock.now <= 30.0 + first_step_patience(30.0)
    assert clock.told[0].startswith(f"ended after {held} batch")


def test_a_step_that_cannot_come_in_time_is_not_waited_for() -> None:
    clock = ran(35.0)
    assert (clock.steps, clock.ended) == (0, "budget")
    assert clock.now == 35.0


def test_ranks_keep_their_hold_and_end_together() -> None:
    clock = Clockwork()
    clock.ranks.active = True
    with pytest.raises(Ended):
        clock.batches(Phases(clock), 8.0)  # type: ignore[arg-type]
    assert (clock.held, clock.steps, clock.told) == (4, 0, [])


def test_the_wait_is_short_beside_long_budgets() -> None:
    assert first_step_patience(30.0) == 15.0
    assert first_step_patience(300.0) == 15.0
    assert first_step_patience(2.0) == 1.0
