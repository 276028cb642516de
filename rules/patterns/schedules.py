"""How a scheduler runs in a program: how often it is stepped, and the rates that gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from convlint.program.facts import Branch, Event, EventKind, Loop
from convlint.rules.patterns.courses import course_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from convlint.findings import Location
    from convlint.program.facts import Node, Object, TrainingProgram

__all__ = [
    "Plan",
    "plan_of",
    "simulate",
    "sparkline",
    "stepping_unit",
    "steps_conditionally",
]

_BARS = "▁▂▃▄▅▆▇█"

MAX_SIMULATED_STEPS = 1_000_000
"""Longer runs are not simulated; it bounds the time one rule may take."""


@dataclass(frozen=True)
class Plan:
    """How often a scheduler is stepped over the whole run, and where."""

    steps: int
    unit: str
    """``epoch`` when it is stepped in the outermost loop, else ``step``."""
    location: Location


def simulate(
    scheduler: Object, objects: Mapping[int, Object], steps: int
) -> tuple[float, ...] | None:
    """The learning rate during each of ``steps`` epochs (or steps), or None when not known."""
    course = course_of(scheduler, objects)
    if course is None or not 0 < steps <= MAX_SIMULATED_STEPS:
        return None
    rates: list[float] = []
    for t in range(steps):
        rate = course(t)
        if rate is None:
            return None
        rates.append(rate)
    return tuple(rates)


def sparkline(rates: tuple[float, ...], width: int = 24) -> str:
    """The course as one line of block characters, on a linear scale from 0 to its peak."""
    peak = max(rates, default=0.0)
    if peak <= 0.0:
        return ""
    count = min(width, len(rates))
    cells = [rates[i * len(rates) // count] for i in range(count)]
    top = len(_BARS) - 1
    return "".join(_BARS[max(0, min(top, round(top * rate / peak)))] for rate in cells)


def plan_of(program: TrainingProgram, scheduler: Object) -> Plan | None:
    """How often the program steps ``scheduler``, when the loops around the call fold.

    None when it is stepped in several places, under a condition, or in a loop of unknown length.
    """
    sites = list(_step_sites(program, scheduler.id))
    if len(sites) != 1:
        return None
    event, loops, conditional = sites[0]
    if conditional or not loops or event.args:
        return None
    steps = 1.0
    for loop in loops:
        trips = loop.trips.number
        if trips is None or trips < 1:
            return None
        steps *= trips
    return Plan(int(steps), "epoch" if len(loops) == 1 else "step", event.location)


def stepping_unit(program: TrainingProgram, scheduler: Object) -> str:
    """How often the scheduler is stepped: ``epoch``, or ``batch`` in a nested loop."""
    depth = max((len(loops) for _, loops, _ in _step_sites(program, scheduler.id)), default=1)
    return "batch" if depth > 1 else "epoch"


def steps_conditionally(program: TrainingProgram, scheduler: Object) -> bool | None:
    """Whether some call of ``scheduler.step`` stands under a condition; None without any call."""
    sites = list(_step_sites(program, scheduler.id))
    return any(conditional for _, _, conditional in sites) if sites else None


def _step_sites(
    program: TrainingProgram, scheduler: int
) -> Iterator[tuple[Event, tuple[Loop, ...], bool]]:
    """Every call of the scheduler's step: the event, the loops around it, and whether it stands
    under a condition other than the scheduler being there at all."""
    seen: set[Location] = set()

    def walk(
        nodes: tuple[Node, ...], loops: tuple[Loop, ...], conditional: bool
    ) -> Iterator[tuple[Event, tuple[Loop, ...], bool]]:
        for node in nodes:
            if isinstance(node, Event):
                stepped = node.kind is EventKind.SCHEDULER_STEP and node.target == scheduler
                if stepped and node.location not in seen:
                    seen.add(node.location)
                    yield node, loops, conditional
            elif isinstance(node, Loop):
                yield from walk(node.body, (*loops, node), conditional)
            elif isinstance(node, Branch):
                condition = conditional or scheduler not in node.guards
                for arm in node.arms:
                    yield from walk(arm.body, loops, condition)

    entries = [entry for entry in program.entries if not entry.standalone] or program.entries
    for entry in entries:
        yield from walk(entry.body, (), False)
