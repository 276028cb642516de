"""Questions several rules ask of a training loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.program.facts import EventKind, ObjectKind
from convlint.rules.patterns.imported import uses_library
from convlint.rules.patterns.ownership import Match, acts_on, is_managed, object_of, uses_closure
from convlint.rules.patterns.paths import Occurrence, occurrences, paths
from convlint.rules.patterns.training_loops import STEPS, stepped_optimizer, training_loops

if TYPE_CHECKING:
    from convlint.program.facts import Event, TrainingProgram
    from convlint.rules.patterns.training_loops import TrainingLoop

_REMOTE_CONTEXTS = ("torch.distributed.autograd", "torch.distributed.rpc")


def demands_clearing(program: TrainingProgram, loop: TrainingLoop, optimizer: int) -> bool:
    """Whether gradients pile up in this loop unless the script clears those of ``optimizer``.

    They do not when a framework drives the loop, when gradients live in a distributed autograd
    context, when a closure is stepped, or when the script writes the gradients itself.
    """
    if is_managed(program, loop) or uses_closure(loop, optimizer):
        return False
    if uses_library(program, *_REMOTE_CONTEXTS):
        return False
    if loop.has(EventKind.GRAD_WRITE):
        return False
    owner = object_of(program, optimizer)
    return owner is not None and owner.kind in (ObjectKind.OPTIMIZER, ObjectKind.SYMBOL)


def clearings(program: TrainingProgram, loop: TrainingLoop, optimizer: int) -> list[Occurrence]:
    """The events in the loop that may clear the optimizer's gradients."""
    return [
        o
        for o in loop.of_kind(EventKind.ZERO_GRAD)
        if acts_on(program, o.event, optimizer) is not Match.NO
    ]


def clearings_around(
    program: TrainingProgram, loop: TrainingLoop, optimizer: int
) -> list[Occurrence]:
    """The same in the loops around it, other training loops in there left aside."""
    elsewhere = {found.loop.id for found in training_loops(program)}
    found: list[Occurrence] = []
    for around in loop.around:
        own = elsewhere - {around.id}
        found.extend(
            o
            for o in occurrences(around.body)
            if o.kind is EventKind.ZERO_GRAD
            and not own & set(o.loops)
            and acts_on(program, o.event, optimizer) is not Match.NO
        )
    return found


def steps_of(loop: TrainingLoop, optimizer: int) -> list[Occurrence]:
    """The steps of ``optimizer`` in the loop, in source order."""
    return [
        o for o in loop.occurrences if o.kind in STEPS and stepped_optimizer(o.event) == optimizer
    ]


def backward_before_step(loop: TrainingLoop, optimizer: int) -> Event:
    """The backward that feeds the optimizer's first step: the last one before it in the source.

    The first backward of the loop when none comes before the step.
    """
    backward: Event | None = None
    for occurrence in loop.occurrences:
        if occurrence.kind is EventKind.BACKWARD:
            backward = occurrence.event
        elif backward is not None and stepped_optimizer(occurrence.event) == optimizer:
            return backward
    return loop.of_kind(EventKind.BACKWARD)[0].event


def runs_once(loop: TrainingLoop, optimizer: int) -> bool:
    """Whether the optimizer can step at most once in the loop."""
    if loop.loop.trips.number == 1:
        return True
    found = paths(loop.loop.body, {EventKind.BACKWARD, *STEPS})
    if found is None:
        return False
    stepping = [
        path
        for path in found
        if any(stepped_optimizer(o.event) == optimizer for o in path.occurrences)
    ]
    return bool(stepping) and all(path.ends is not None for path in stepping)
