"""The script's learning-rate schedulers: where they are, how often they are called, how long the
run is meant to be."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from convlint.gpu_probes.attach.places import is_user_code, user_frame
from convlint.gpu_probes.horizon.schedule_ahead import detached_copy, learning_rates_ahead
from convlint.gpu_probes.observations import Plan, ScheduleAhead

if TYPE_CHECKING:
    from types import FrameType

    from convlint.gpu_probes.attach.measuring import Measuring
    from convlint.gpu_probes.attach.module_registry import CreationPlaces
    from convlint.gpu_probes.attach.optimizer_watch import OptimizerWatch

_EPOCHS = re.compile(r"^(n|num|max|total|train|nb|n_train|num_train)?_?epochs$", re.IGNORECASE)
_STEPS = re.compile(
    r"^(n|num|max|total|train|num_train)_?(steps|iters|iterations|updates)$", re.IGNORECASE
)
_NAMESPACES = re.compile(
    r"^(args|cfg|config|conf|opts?|hparams|params|flags|settings|self|hp)$", re.IGNORECASE
)
# ``self.args.epochs`` is two levels below the frame.
_NAMESPACE_LEVELS = 2
# The schedule is walked this many times the horizon when the length of the run is not known.
_HORIZONS_AHEAD = 10
# One call per step, within the slack of warm-up calls and of the step that ends the run.
_PER_STEP_SHARE = 0.9


@dataclass
class _Watched:
    scheduler: Any
    calls: int = 0
    snapshot: Any = None


class ScheduleWatch:
    """All schedulers, copied before their first call."""

    def __init__(self, created: CreationPlaces, measuring: Measuring) -> None:
        self._created = created
        self._measuring = measuring
        self._watched: dict[int, _Watched] = {}
        self._nested: set[int] = set()
        self.loader_length: int | None = None
        self.plan = Plan()

    def created(self, scheduler: Any) -> None:
        """A scheduler comes into being."""
        if self._measuring.idle:
            self._created.remember(scheduler)
            self._watched[id(scheduler)] = _Watched(scheduler)

    def nested(self, scheduler: Any) -> None:
        """The scheduler is driven by another scheduler, not by the script."""
        self._nested.add(id(scheduler))

    def called(self, scheduler: Any) -> None:
        """The script steps the scheduler (even where the call is withheld)."""
        self.keep_copies()
        watched = self._watched.get(id(scheduler))
        if watched is not None:
            watched.calls += 1

    def keep_copies(self) -> None:
        """Copy every scheduler that has no copy yet; called before the first real change."""
        for watched in self._watched.values():
            if watched.snapshot is None and hasattr(watched.scheduler, "optimizer"):
                with self._measuring.section("schedule ahead"):
                    watched.snapshot = detached_copy(watched.scheduler)

    def read_plan(self) -> None:
        """Look in the script's variables for the number of epochs or steps."""
        epochs, steps = set(), set()
        frame = user_frame()
        while frame is not None:
            if is_user_code(frame.f_code.co_filename):
                for name, value in _named_integers(frame):
                    if _EPOCHS.match(name):
                        epochs.add(value)
                    elif _STEPS.match(name):
                        steps.add(value)
            frame = frame.f_back
        # Two different numbers under such names: there is no telling which one the loop uses.
        self.plan = Plan(
            epochs=epochs.pop() if len(epochs) == 1 else None,
            steps=steps.pop() if len(steps) == 1 else None,
            # Later on it may be that of a test set.
            batches_per_epoch=self.loader_length,
        )

    def ahead(self, optimizers: OptimizerWatch, horizon: int) -> tuple[ScheduleAhead, ...]:
        """Every scheduler the script drives, stepped to the end of the planned run."""
        schedules = []
        for watched in self._watched.values():
            scheduler = watched.scheduler
            if id(scheduler) in self._nested or watched.snapshot is None:
                continue
            if type(scheduler).__name__ == "ReduceLROnPlateau":
                self._measuring.skip("schedule ahead", "ReduceLROnPlateau follows the metric")
                continue
            record = optimizers.record(scheduler.optimizer)
            per = _frequency(watched.calls, record.steps_seen)
            calls, planned = self._calls(per, record.accumulation or 1.0, horizon)
            with self._measuring.section("schedule ahead"):
                made, rates = learning_rates_ahead(watched.snapshot, calls)
                schedules.append(
                    ScheduleAhead(
                        cls=type(scheduler).__name__,
                        optimizer=record.number,
                        calls=made,
                        planned=planned,
                        per=per,
                        learning_rates=rates,
                        place=self._created.place(scheduler),
                    )
                )
        return tuple(schedules)

    def _calls(self, per: str, accumulation: float, horizon: int) -> tuple[int, bool]:
        epochs, batches = self.plan.epochs, self.plan.batches_per_epoch
        if per == "step":
            if self.plan.steps:
                return self.plan.steps, True
            if epochs and batches:
                return max(1, round(epochs * batches / accumulation)), True
            return _HORIZONS_AHEAD * horizon, False
        if epochs:
            return epochs, per == "epoch"
        return _HORIZONS_AHEAD * horizon, False


def _frequency(calls: int, steps: int) -> str:
    if calls == 0 or steps == 0:
        return "unknown"
    return "step" if calls >= _PER_STEP_SHARE * (steps - 1) and steps > 1 else "epoch"


def _named_integers(frame: FrameType) -> list[tuple[str, int]]:
    return _integers_in({**frame.f_globals, **frame.f_locals}, _NAMESPACE_LEVELS)


def _integers_in(variables: dict[Any, Any], levels: int) -> list[tuple[str, int]]:
    found = []
    for name, value in variables.items():
        if not isinstance(name, str):
            continue
        if type(value) is int and value > 0:
            found.append((name, value))
        elif levels and _NAMESPACES.match(name):
            inside = value if isinstance(value, dict) else getattr(value, "__dict__", {})
            found.extend(_integers_in(inside, levels - 1))
    return found


def called_by_construction(depth: int = 2) -> bool:
    """Whether a scheduler's ``step`` is called by its own constructor.

    ``depth`` counts the frames between this function and the caller of ``step``.
    """
    caller = sys._getframe(depth)
    return caller.f_code.co_name in ("_initial_step", "__init__")
