"""How a scheduler runs in a program: how often it is stepped, and the rates that gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from convlint.program.facts import Branch, Event, EventKind, Loop, ObjectKind
from convlint.rules.patterns.courses import course_of, scheduler_class
from convlint.rules.patterns.ownership import scheduled_optimizer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from convlint.findings import Location
    from convlint.program.facts import Node, Object, TrainingProgram, Value

__all__ = [
    "HandSchedule",
    "Plan",
    "counts_epochs_per_batch",
    "hand_written",
    "plan_of",
    "simulate",
    "sparkline",
    "step_sites",
    "stepping_unit",
    "steps_conditionally",
    "trains_inside",
]

_BARS = "▁▂▃▄▅▆▇█"

FEWEST_EPOCHS = 2
USUAL_BATCHES = 200
"""Batches of an epoch where they are not known: those of the smallest data sets in use."""
GONE = 1e-2
"""Share of the initial rate that is left after one epoch of batches."""
MAX_SIMULATED_STEPS = 1_000_000
"""Longer runs are not simulated; it bounds the time one rule may take."""


class Plan(msgspec.Struct, frozen=True):
    """How often a scheduler is stepped over the whole run, and where."""

    steps: int
    unit: str
    """``epoch`` when it is stepped in the outermost loop, else ``step``."""
    location: Location


class HandSchedule(msgspec.Struct, frozen=True):
    """Learning rates the script writes into ``param_groups`` itself, one for each epoch."""

    rates: tuple[float, ...]
    location: Location
    """The write."""
    relative: bool
    """Whether the initial rate is not known, and taken as 1."""
    compounds: bool
    """Whether the rate is scaled by a factor that itself depends on the epoch."""


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
    if conditional or not loops:
        return None
    if event.args and not scheduler.cls.startswith("timm."):
        return None  # the epoch (or a metric) given decides; timm's are always given it
    # a scheduler built in the loop over folds or tasks starts anew in each
    made = next((c.loops for c in program.calls if c.result.object == scheduler.id), ())
    loops = tuple(loop for loop in loops if loop.id not in made)
    if not loops:
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


class _NotFollowed(Exception):
    """A write whose value, or whose condition, is not known."""


def hand_written(program: TrainingProgram, optimizer: Object) -> HandSchedule | None:
    """The rates that assignments to ``param_groups`` give, over a loop of known length.

    None when there are none, when a scheduler acts on the optimizer as well, or when a value, a
    condition or the length of the loop is not known.
    """
    if any(scheduled_optimizer(program, s.id) == optimizer.id for s in program.objects):
        return None
    found: dict[Location, tuple[Loop, Event]] = {}
    for entry in program.entries:
        if entry.standalone:
            continue
        for node in entry.body:
            for loop, write in _writes(node, None, optimizer.id):
                if loop is None:
                    return None
                found[write.location] = (loop, write)
    loops = {loop.id: loop for loop, _ in found.values()}
    if len(loops) != 1:
        return None
    loop = next(iter(loops.values()))
    trips = loop.trips.number
    if trips is None or not 1 < trips <= MAX_SIMULATED_STEPS:
        return None
    rate = optimizer.args.get("lr")
    base = rate.number if rate is not None else None
    writes = [write for _, write in found.values()]
    if base is None and any("value" in write.args for write in writes):
        return None
    run = _HandRun(loop, optimizer.id, 1.0 if base is None else base)
    try:
        rates = tuple(run.epoch(t) for t in range(int(trips)))
    except _NotFollowed:
        return None
    compounds = any("value" not in write.args and _varies(write) for write in writes)
    return HandSchedule(rates, writes[-1].location, base is None, compounds)


def _varies(write: Event) -> bool:
    numbers = [value.numbers for value in write.args.values() if value.loop is not None]
    return any(len(set(values or ())) > 1 for values in numbers)


def step_sites(
    program: TrainingProgram, scheduler: Object
) -> tuple[tuple[Event, tuple[Loop, ...], bool], ...]:
    """Every call of the scheduler's step: the event, the loops around it (outermost first), and
    whether it stands under a condition other than the scheduler being there at all."""
    return tuple(_step_sites(program, scheduler.id))


def _writes(
    node: Node, outermost: Loop | None, optimizer: int
) -> Iterator[tuple[Loop | None, Event]]:
    if isinstance(node, Event):
        if node.kind is EventKind.LR_WRITE and node.target in (optimizer, None):
            yield outermost, node
    elif isinstance(node, Branch):
        for arm in node.arms:
            for inner in arm.body:
                yield from _writes(inner, outermost, optimizer)
    else:
        groups = node.over.name == "param_groups"
        for inner in node.body:
            yield from _writes(inner, outermost or (None if groups else node), optimizer)


class _HandRun:
    """Runs the writes of one loop, iteration by iteration."""

    def __init__(self, loop: Loop, optimizer: int, rate: float) -> None:
        self._loop = loop
        self._optimizer = optimizer
        self._rate = rate
        self._used: float | None = None

    def epoch(self, t: int) -> float:
        """The rate of the first optimizer step in iteration ``t`` (else the one it leaves)."""
        self._used = None
        self._run(self._loop.body, t)
        return self._rate if self._used is None else self._used

    def _run(self, nodes: tuple[Node, ...], t: int) -> None:
        for node in nodes:
            if isinstance(node, Event):
                self._event(node, t)
            elif isinstance(node, Branch):
                self._branch(node, t)
            elif node.over.name == "param_groups":
                self._run(node.body, t)
            elif any(True for _ in _writes(node, None, self._optimizer)):
                raise _NotFollowed
            elif self._used is None and _steps(node.body):
                self._used = self._rate

    def _branch(self, node: Branch, t: int) -> None:
        if node.taken is not None and node.loop == self._loop.id and t < len(node.taken):
            self._run(node.arms[0 if node.taken[t] else 1].body, t)
        elif any(True for _ in _writes(node, None, self._optimizer)) or any(
            arm.ends is not None for arm in node.arms
        ):
            raise _NotFollowed
        elif self._used is None and any(_steps(arm.body) for arm in node.arms):
            self._used = self._rate

    def _event(self, event: Event, t: int) -> None:
        if event.kind is EventKind.STEP and self._used is None:
            self._used = self._rate
        if event.kind is not EventKind.LR_WRITE or event.target not in (self._optimizer, None):
            return
        for name in ("value", "factor", "divisor"):
            if name not in event.args:
                continue
            number = self._number(event.args[name], t)
            if name == "value":
                self._rate = number
            elif name == "factor":
                self._rate *= number
            elif number:
                self._rate /= number
            else:
                raise _NotFollowed

    def _number(self, value: Value, t: int) -> float:
        numbers = value.numbers if value.loop == self._loop.id else None
        number = value.number if numbers is None else numbers[t] if t < len(numbers) else None
        if number is None:
            raise _NotFollowed
        return number


def trains_inside(loop: Loop) -> bool:
    """Whether optimizer steps happen in a loop inside this one: it counts epochs."""

    def inner(nodes: tuple[Node, ...]) -> bool:
        return any(
            (isinstance(node, Loop) and node.trips.number != 1 and _steps(node.body))
            or (isinstance(node, Branch) and any(inner(arm.body) for arm in node.arms))
            for node in nodes
        )

    return inner(loop.body)


def counts_epochs_per_batch(
    program: TrainingProgram, scheduler: Object, objects: Mapping[int, Object]
) -> Event | None:
    """The step of a scheduler whose arguments count epochs, when it is stepped for every batch.

    Arguments count epochs when the horizon of a cosine is the number of epochs, or when all decays
    of a StepLR, MultiStepLR or ExponentialLR are over within an epoch's worth of batches.
    """
    sites = list(_step_sites(program, scheduler.id))
    if len(sites) != 1:
        return None
    event, loops, conditional = sites[0]
    if conditional or event.args or len(loops) < 2 or not _steps(loops[-1].body):
        return None
    source = objects.get(-1 if loops[-1].over.object is None else loops[-1].over.object)
    if source is None or source.kind is not ObjectKind.LOADER:
        return None
    epochs, batches = loops[-2].trips.number, loops[-1].trips.number
    if epochs is None or epochs < FEWEST_EPOCHS or (batches is not None and batches < 2):
        return None
    name = scheduler_class(scheduler)
    if name == "CosineAnnealingLR":
        horizon = scheduler.args.get("T_max")
        return event if horizon is not None and horizon.number == epochs else None
    if name == "MultiStepLR":
        milestones = scheduler.args.get("milestones")
        numbers = milestones.numbers if milestones is not None else None
        return event if numbers and max(numbers) <= epochs else None
    if name not in ("StepLR", "ExponentialLR"):
        return None
    size = scheduler.args.get("step_size")
    if name == "StepLR" and (size is None or size.number is None or size.number > epochs):
        return None
    rates = simulate(scheduler, objects, int(batches or USUAL_BATCHES))
    return event if rates is not None and rates[-1] < rates[0] * GONE else None


def _steps(nodes: tuple[Node, ...]) -> bool:
    return any(
        (isinstance(node, Event) and node.kind in (EventKind.STEP, EventKind.SCALER_STEP))
        or (isinstance(node, Loop) and _steps(node.body))
        or (isinstance(node, Branch) and any(_steps(arm.body) for arm in node.arms))
        for node in nodes
    )
