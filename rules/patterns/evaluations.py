"""Evaluations in which a model still runs in training mode."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from convlint.program.facts import EventKind, ObjectKind
from convlint.rules.patterns.datasets import is_evaluating
from convlint.rules.patterns.flows import objects_by_id, one_per_place
from convlint.rules.patterns.modes import MODE_EVENTS, mode_sensitive_layers, sets_mode
from convlint.rules.patterns.once import once_per_program
from convlint.rules.patterns.paths import occurrences, paths
from convlint.rules.patterns.training_loops import loops_in

if TYPE_CHECKING:
    from convlint.findings import Location
    from convlint.program.facts import Event, TrainingProgram
    from convlint.rules.patterns.paths import Occurrence, Path

__all__ = ["Evaluated", "evaluated_in_training_mode"]

_EVENTS = MODE_EVENTS | {EventKind.UNKNOWN_CALL}


class Evaluated(msgspec.Struct, frozen=True):
    """A forward of an evaluation by a model that was trained and never put in eval mode.

    ``beside`` is the eval call of another model that runs in the same evaluation, or None.
    """

    forward: Event
    beside: Event | None


@once_per_program
def evaluated_in_training_mode(program: TrainingProgram) -> tuple[Evaluated, ...]:
    """The first such forward on every path, one per place."""
    if program.managed:
        return ()
    objects = objects_by_id(program)
    places: set[Location] = set()
    found: list[Evaluated] = []
    for entry in program.entries:
        evaluating = {
            loop.id
            for loop in loops_in(entry.body)
            if loop.over.object is not None
            and (loader := objects.get(loop.over.object)) is not None
            and is_evaluating(objects, loader)
            and not any(o.kind is EventKind.BACKWARD for o in occurrences(loop.body))
        }
        if not evaluating:
            continue
        for path in paths(entry.body, _EVENTS) or ():
            evaluated = _in_training_mode(program, path, evaluating)
            if evaluated is not None and one_per_place(places, evaluated.forward.location):
                found.append(evaluated)
    return tuple(found)


def _in_training_mode(
    program: TrainingProgram, path: Path, evaluating: set[int]
) -> Evaluated | None:
    """A forward in an evaluating loop, which goes back through nothing, of a model trained before it
    on the path and never put in eval mode."""
    trained: set[int] = set()
    pending: set[int] = set()
    settled: list[Occurrence] = []
    # players of a game are often sampled from as they are
    alone = sum(o.kind is ObjectKind.OPTIMIZER for o in program.objects) < 2
    for occurrence in path.occurrences:
        event = occurrence.event
        if occurrence.kind is EventKind.UNKNOWN_CALL and (event.escapes or event.target):
            return None
        if occurrence.kind is EventKind.EVAL_MODE:
            settled.append(occurrence)
        elif occurrence.kind is EventKind.BACKWARD:
            trained |= pending
        elif occurrence.kind is EventKind.FORWARD and event.target is not None:
            loops = evaluating & set(occurrence.loops)
            with_gradient = "no_grad" not in event.context
            if with_gradient and not (loops and alone):
                pending.add(event.target)
            elif (
                event.target in trained
                and loops
                and not any(sets_mode(program, s, event.target) for s in settled)
                and mode_sensitive_layers(program, event.target)
            ):
                together = {
                    o.event.target
                    for o in path.occurrences
                    if o.kind is EventKind.FORWARD and loops & set(o.loops)
                }
                return Evaluated(event, _beside(program, settled, together - {event.target}))
    return None


def _beside(
    program: TrainingProgram, settled: list[Occurrence], others: set[int | None]
) -> Event | None:
    """The last eval call that reaches one of the other models."""
    for occurrence in reversed(settled):
        if any(other is not None and sets_mode(program, occurrence, other) for other in others):
            return occurrence.event
    return None
