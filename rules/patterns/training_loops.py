"""The loops of a program, and among them those that train."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from convlint.program.facts import Branch, Event, EventKind, Loop
from convlint.rules.patterns.once import once_per_program
from convlint.rules.patterns.paths import condition_of, occurrences

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.program.facts import Entry, Node, TrainingProgram
    from convlint.rules.patterns.paths import Condition, Occurrence

STEPS = frozenset({EventKind.STEP, EventKind.SCALER_STEP})


class TrainingLoop(msgspec.Struct, frozen=True):
    """The innermost loop that back-propagates and steps.

    ``around`` are the loops around it, outermost first. ``occurrences`` are all events in it,
    whatever path they are on, in source order.
    """

    entry: Entry
    loop: Loop
    around: tuple[Loop, ...] = ()
    occurrences: tuple[Occurrence, ...] = ()
    outer_conditions: tuple[Condition, ...] = ()

    @property
    def epoch_loop(self) -> Loop | None:
        """The loop directly around this one, or None."""
        return self.around[-1] if self.around else None

    @property
    def nest(self) -> tuple[Loop, ...]:
        """This loop and the loops around it, outermost first."""
        return (*self.around, self.loop)

    @property
    def optimizers(self) -> tuple[int, ...]:
        """The resolved optimizers that step in it, in order of their first step."""
        seen: dict[int, None] = {}
        for occurrence in self.occurrences:
            optimizer = stepped_optimizer(occurrence.event)
            if optimizer is not None:
                seen.setdefault(optimizer)
        return tuple(seen)

    @property
    def steps_something_unknown(self) -> bool:
        """True when an optimizer that could not be resolved steps in it."""
        return any(o.kind in STEPS and stepped_optimizer(o.event) is None for o in self.occurrences)

    def of_kind(self, *kinds: EventKind) -> list[Occurrence]:
        """The events of these kinds in it, in source order."""
        return [occurrence for occurrence in self.occurrences if occurrence.kind in kinds]

    def has(self, *kinds: EventKind) -> bool:
        """Whether an event of one of these kinds happens in it."""
        return any(occurrence.kind in kinds for occurrence in self.occurrences)


def stepped_optimizer(event: Event) -> int | None:
    """The optimizer a step acts on, directly or through a gradient scaler; None when unknown."""
    if event.kind is EventKind.STEP:
        return event.target
    if event.kind is EventKind.SCALER_STEP:
        return event.optimizer
    return None


@once_per_program
def _training_loops(program: TrainingProgram) -> tuple[TrainingLoop, ...]:
    found: list[TrainingLoop] = []
    for entry in program.entries:
        _visit(entry, entry.body, (), (), found)
    return tuple(found)


def training_loops(program: TrainingProgram) -> list[TrainingLoop]:
    """The training loops of every entry.

    A loop trains when it holds a backward and a step of its own; those of a training loop inside
    it count for that one alone. Loops that do only one of the two (micro-batches, parameters) are
    part of the loop around them.
    """
    return list(_training_loops(program))


def _visit(
    entry: Entry,
    nodes: tuple[Node, ...],
    around: tuple[Loop, ...],
    conditions: tuple[Condition, ...],
    found: list[TrainingLoop],
) -> set[EventKind]:
    """Collect the training loops among ``nodes``; return the kinds of events outside of them."""
    own: set[EventKind] = set()
    for node in nodes:
        if isinstance(node, Event):
            own.add(node.kind)
        elif isinstance(node, Branch):
            for index, arm in enumerate(node.arms):
                inner = (*conditions, condition_of(node, index))
                own |= _visit(entry, arm.body, around, inner, found)
        else:
            inside = _visit(entry, node.body, (*around, node), (), found)
            if EventKind.BACKWARD in inside and inside & STEPS:
                events = tuple(occurrences(node.body))
                found.append(TrainingLoop(entry, node, around, events, conditions))
            else:
                own |= inside
    return own


def all_loops(program: TrainingProgram) -> Iterator[tuple[Entry, tuple[Loop, ...]]]:
    """Every loop of every entry as the nest of loops it stands in, itself last."""
    for entry in program.entries:
        for nest in _nests(entry.body, ()):
            yield entry, nest


def _nests(nodes: tuple[Node, ...], around: tuple[Loop, ...]) -> Iterator[tuple[Loop, ...]]:
    for node in nodes:
        if isinstance(node, Branch):
            for arm in node.arms:
                yield from _nests(arm.body, around)
        elif isinstance(node, Loop):
            nest = (*around, node)
            yield nest
            yield from _nests(node.body, nest)


def loops_in(nodes: tuple[Node, ...]) -> Iterator[Loop]:
    """Every loop below ``nodes``, at any depth."""
    for nest in _nests(nodes, ()):
        yield nest[-1]


def breaks(body: tuple[Node, ...]) -> bool:
    """Whether some iteration may leave the loop with this body early."""
    return any(
        arm.ends in ("break", "return") or breaks(arm.body)
        for node in body
        if isinstance(node, Branch)
        for arm in node.arms
    )
