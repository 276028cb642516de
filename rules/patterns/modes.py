"""Train and eval mode: which layers care, and when a model trains in eval mode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.program.facts import EventKind, ObjectKind
from convlint.rules.patterns.flows import FlowGraph
from convlint.rules.patterns.layers import canonical
from convlint.rules.patterns.ownership import (
    Match,
    object_of,
    shares_parameters,
    submodules,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from convlint.program.facts import Object, TrainingProgram
    from convlint.rules.patterns.paths import Occurrence
    from convlint.rules.patterns.training_loops import TrainingLoop

MODE_EVENTS = frozenset(
    {EventKind.TRAIN_MODE, EventKind.EVAL_MODE, EventKind.FORWARD, EventKind.BACKWARD}
)

_RECURRENT_WITH_DROPOUT = frozenset({"lstm", "gru", "rnn"})


def is_mode_sensitive(layer: Object) -> bool | None:
    """Whether a layer computes something else in eval mode; None when that is not known."""
    op = canonical(layer.cls)
    if not op:
        return None
    if "dropout" in op:
        rate = layer.args.get("p")
        return rate is None or rate.number is None or rate.number > 0
    if "batch_norm" in op:
        return True
    if "instance_norm" in op:
        tracked = layer.args.get("track_running_stats")
        return tracked is not None and tracked.constant is True
    if op in _RECURRENT_WITH_DROPOUT or "transformer" in op or op == "multihead_attention":
        rate = layer.args.get("dropout")
        if rate is None:
            return "transformer" in op
        return rate.number is None or rate.number > 0
    return False


def mode_sensitive_layers(program: TrainingProgram, model: int) -> bool | None:
    """Whether the model holds a layer that eval mode changes; None when that is not known."""
    described = {found.object: found for found in program.models}
    complete = True
    for number in submodules(program, (model,)):
        found = object_of(program, number)
        if found is None:
            complete = False
        elif found.kind is ObjectKind.LAYER:
            # containers such as Sequential are no layer of their own
            sensitive = False if found.children else is_mode_sensitive(found)
            if sensitive:
                return True
            complete = complete and sensitive is not None
        elif found.kind is ObjectKind.MODEL:
            known = described.get(number)
            complete = complete and known is not None and known.complete
        else:
            complete = False
    return False if complete else None


def sets_mode(program: TrainingProgram, event: Occurrence, model: int) -> bool:
    """Whether a train or eval call reaches ``model``.

    An eval call must be on the model or on what contains it. A train call on a part counts too:
    the model may be a wrapper around that part.
    """
    target = event.event.target
    if target is None:
        return event.kind is EventKind.TRAIN_MODE
    if target == model or model in submodules(program, (target,)):
        return True
    return event.kind is EventKind.TRAIN_MODE and target in submodules(program, (model,))


def trained_in(program: TrainingProgram, loop: TrainingLoop) -> list[int]:
    """The models that run with gradient in the loop and that its optimizers update.

    A model whose optimizer was built from unresolved parameters counts when it is the only one.
    """
    forwarded = list(
        dict.fromkeys(
            o.event.target
            for o in loop.of_kind(EventKind.FORWARD)
            if o.event.target is not None and "no_grad" not in o.event.context
        )
    )
    found: list[int] = []
    for model in forwarded:
        matches = {
            shares_parameters(program, (model,), o)
            for o in loop.optimizers
            if not _updates_bare_tensors(program, o)
        }
        if Match.YES in matches or (Match.MAYBE in matches and len(forwarded) == 1):
            found.append(model)
    return found


def _updates_bare_tensors(program: TrainingProgram, optimizer: int) -> bool:
    """Whether an optimizer was given tensors that belong to no module, such as an image."""
    owner = object_of(program, optimizer)
    return owner is not None and owner.parameters_of == ()


def leaves_eval(
    program: TrainingProgram, events: Sequence[Occurrence], model: int
) -> Occurrence | None:
    """The eval call still in force for ``model`` after these events, or None."""
    last: Occurrence | None = None
    for occurrence in events:
        if occurrence.kind is EventKind.EVAL_MODE and sets_mode(program, occurrence, model):
            last = occurrence
        elif occurrence.kind is EventKind.TRAIN_MODE and sets_mode(program, occurrence, model):
            last = None
    return last


def trains_before_train_mode(
    program: TrainingProgram, events: Sequence[Occurrence], model: int
) -> Occurrence | None:
    """The backward of a forward of ``model`` that no train call precedes in these events.

    The loss of another model does not count, where it is known to come from that one alone.
    """
    outputs: set[int | None] = set()
    others: set[int | None] = set()
    for occurrence in events:
        if occurrence.kind in (EventKind.TRAIN_MODE, EventKind.EVAL_MODE):
            if sets_mode(program, occurrence, model):
                return None
        elif occurrence.kind is EventKind.FORWARD:
            if occurrence.event.target != model:
                others.add(occurrence.event.flow)
            elif "no_grad" not in occurrence.event.context:
                outputs.add(occurrence.event.flow)
        elif (
            occurrence.kind is EventKind.BACKWARD
            and outputs
            and not _of_others_alone(program, occurrence.event.flow, outputs, others)
        ):
            return occurrence
    return None


def _of_others_alone(
    program: TrainingProgram, loss: int | None, outputs: set[int | None], others: set[int | None]
) -> bool:
    """Whether a loss comes from the outputs of other models and from none of these."""
    if not others - {None} or None in outputs:
        return False
    behind = {flow.id for flow in FlowGraph(program).ancestors(loss)}
    return bool(behind & others) and not behind & outputs
