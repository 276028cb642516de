"""Which optimizer an event concerns, and whether anything unseen could have acted on it.

GANs and actor-critic scripts train several networks in one loop, so every rule about the order of
events asks for one optimizer at a time. The answer has three values: *maybe* counts as yes where
a rule looks for an absence, and as no where it looks for a wrong order.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from convlint.findings import Confidence
from convlint.program.facts import EventKind, ObjectKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from convlint.program.facts import Event, Object, TrainingProgram
    from convlint.rules.patterns.paths import Occurrence
    from convlint.rules.patterns.training_loops import TrainingLoop


class Match(enum.Enum):
    """Whether an event acts on the optimizer asked about."""

    YES = "yes"
    NO = "no"
    MAYBE = "maybe"


_OPAQUE = frozenset({ObjectKind.SYMBOL, ObjectKind.INSTANCE, ObjectKind.LIBRARY})


def object_of(program: TrainingProgram, number: int | None) -> Object | None:
    """The object with this number, or None."""
    if number is None:
        return None
    if 0 <= number < len(program.objects) and program.objects[number].id == number:
        return program.objects[number]
    return next((found for found in program.objects if found.id == number), None)


def is_unidentified(found: Object | None) -> bool:
    """Whether an object came from outside (an argument, an attribute of one): it may be another
    name for one created elsewhere, and its class is not known."""
    return found is None or not found.cls or found.kind is ObjectKind.SYMBOL


def submodules(program: TrainingProgram, modules: Iterable[int]) -> set[int]:
    """These modules and everything registered in them, wrappers' contents included."""
    found: set[int] = set()
    waiting = list(modules)
    while waiting:
        number = waiting.pop()
        if number in found:
            continue
        found.add(number)
        module = object_of(program, number)
        if module is None:
            continue
        waiting.extend(module.children.values())
        # DistributedDataParallel(net) has no parameters beside those of what it wraps
        waiting.extend(
            value.object
            for name, value in module.args.items()
            if name in ("module", "0") and value.object is not None
        )
    return found


def shares_parameters(program: TrainingProgram, modules: Iterable[int], optimizer: int) -> Match:
    """Whether the optimizer updates parameters of these modules."""
    owner = object_of(program, optimizer)
    modules = tuple(modules)
    if owner is None or owner.parameters_of is None or not owner.parameters_of:
        return Match.MAYBE
    ours, theirs = submodules(program, modules), submodules(program, owner.parameters_of)
    if ours & theirs:
        return Match.YES
    for number in (*modules, *owner.parameters_of):
        found = object_of(program, number)
        if is_unidentified(found) or (found is not None and found.kind in _OPAQUE):
            return Match.MAYBE
    return Match.NO


def acts_on(program: TrainingProgram, event: Event, optimizer: int) -> Match:
    """Whether a zero_grad, clip, unscale, step or scheduler step concerns ``optimizer``."""
    if event.kind is EventKind.STEP:
        return _same(event.target, optimizer)
    if event.kind in (EventKind.SCALER_STEP, EventKind.UNSCALE):
        return _same(event.optimizer, optimizer)
    if event.kind is EventKind.SCHEDULER_STEP:
        return _same(scheduled_optimizer(program, event.target), optimizer)
    target = object_of(program, event.target)
    if event.target == optimizer or event.optimizer == optimizer:
        return Match.YES
    if event.over is not None:
        return shares_parameters(program, event.over, optimizer)
    if target is None or is_unidentified(target):
        return Match.MAYBE
    if target.kind is ObjectKind.OPTIMIZER:
        if is_unidentified(object_of(program, optimizer)):
            return Match.MAYBE
        if target.parameters_of:
            # two optimizers over one model clear each other's gradients
            shared = shares_parameters(program, target.parameters_of, optimizer)
            return Match.MAYBE if shared is Match.YES else Match.NO
        return Match.NO
    if target.kind in (ObjectKind.MODEL, ObjectKind.LAYER):
        return shares_parameters(program, (target.id,), optimizer)
    return Match.MAYBE


def _same(number: int | None, optimizer: int) -> Match:
    if number is None:
        return Match.MAYBE
    return Match.YES if number == optimizer else Match.NO


def scheduled_optimizer(program: TrainingProgram, scheduler: int | None) -> int | None:
    """The optimizer whose learning rate a scheduler sets, or None when unknown."""
    found = object_of(program, scheduler)
    if found is None:
        return None
    value = found.args.get("optimizer")
    return value.object if value is not None else None


def trained_models(program: TrainingProgram, loop: TrainingLoop) -> set[int]:
    """The modules whose parameters the optimizers of this loop update, submodules included."""
    roots: list[int] = []
    for number in loop.optimizers:
        optimizer = object_of(program, number)
        if optimizer is not None and optimizer.parameters_of is not None:
            roots.extend(optimizer.parameters_of)
    return submodules(program, roots)


def is_managed(program: TrainingProgram, loop: TrainingLoop) -> bool:
    """Whether a framework, or a context that keeps gradients to itself, drives this loop."""
    if program.managed:
        return True
    return any(
        "dist_autograd" in o.event.context or "managed" in o.event.flags
        for o in loop.of_kind(
            EventKind.BACKWARD, EventKind.STEP, EventKind.SCALER_STEP, EventKind.ZERO_GRAD
        )
    )


def uses_closure(loop: TrainingLoop, optimizer: int) -> bool:
    """Whether this optimizer is stepped with a closure (LBFGS), which holds its own backward."""
    return any(
        o.event.target == optimizer and "closure" in o.event.flags
        for o in loop.of_kind(EventKind.STEP)
    )


def sole_optimizer(loop: TrainingLoop, optimizer: int) -> bool:
    """Whether nothing but this optimizer steps in the loop."""
    return loop.optimizers == (optimizer,) and not loop.steps_something_unknown


def concerns(program: TrainingProgram, loop: TrainingLoop, event: Event, optimizer: int) -> bool:
    """Whether an event of the loop acts on ``optimizer``, surely or for want of another one."""
    match = acts_on(program, event, optimizer)
    return match is Match.YES or (match is Match.MAYBE and sole_optimizer(loop, optimizer))


def unseen_hands(
    program: TrainingProgram, found: Iterable[Occurrence], optimizer: int, *, incomplete: bool
) -> bool:
    """Whether code that could not be read got hold of the optimizer, its scaler or a wrapper.

    ``incomplete`` tells that something in the loop was not resolved; without an event that names
    what it received, it may have received anything.
    """
    owner = object_of(program, optimizer)
    if owner is None or owner.escaped:
        return True
    unknown_calls = [o.event for o in found if o.kind is EventKind.UNKNOWN_CALL]
    if incomplete and not unknown_calls:
        return True
    return any(_reaches(program, call, optimizer) for call in unknown_calls)


def _reaches(program: TrainingProgram, call: Event, optimizer: int) -> bool:
    for number in (*call.escapes, call.target):
        if number == optimizer:
            return True
        handed = object_of(program, number)
        if handed is None:
            continue
        if handed.kind in (ObjectKind.SCALER, ObjectKind.ACCELERATOR, ObjectKind.TRAINER):
            return True
        if any(value.object == optimizer for value in handed.attributes.values()):
            return True
    return False


def model_left_sight(program: TrainingProgram, found: Iterable[Occurrence], optimizer: int) -> bool:
    """Whether code that could not be read got hold of a model this optimizer trains."""
    owner = object_of(program, optimizer)
    if owner is None or owner.parameters_of is None:
        return True
    models = submodules(program, owner.parameters_of)
    handed_on = {
        number
        for o in found
        if o.kind is EventKind.UNKNOWN_CALL
        for number in (*o.event.escapes, o.event.target)
        if number is not None
    }
    if models & handed_on:
        return True
    return any(
        model is not None and model.escaped
        for model in (object_of(program, number) for number in owner.parameters_of)
    )


def absence_confidence(program: TrainingProgram, loop: TrainingLoop, optimizer: int) -> Confidence:
    """How sure an absence in this loop is, given what could not be read.

    Low (hidden by default) when the optimizer was handed to unread code; medium when a model it
    trains was, or when the optimizer came from outside as an argument; else high.
    """
    if unseen_hands(program, loop.occurrences, optimizer, incomplete=loop.loop.incomplete):
        return Confidence.LOW
    if is_unidentified(object_of(program, optimizer)):
        return Confidence.MEDIUM
    if model_left_sight(program, loop.occurrences, optimizer):
        return Confidence.MEDIUM
    return Confidence.HIGH


def name_of(found: Object | None, fallback: str) -> str:
    """What the user calls an object: its first name, or ``fallback``."""
    return found.names[0] if found is not None and found.names else fallback
