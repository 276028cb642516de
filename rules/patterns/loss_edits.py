"""Edits around losses: drop an activation, take another loss, set a loss's argument."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.rules.patterns import edits
from convlint.rules.patterns.ownership import object_of

if TYPE_CHECKING:
    from convlint.program.facts import Flow, LossCall, TrainingProgram
    from convlint.rules import Changes
    from convlint.rules.patterns.flows import FlowGraph

ORDER_ONLY = frozenset({"argmax", "max", "topk", "sort", "argsort"})
"""What reads scores and gives the same for their softmax, sigmoid or logarithm."""


def without_activation(
    program: TrainingProgram, graph: FlowGraph, activation: Flow, loss: LossCall
) -> Changes:
    """Drop an activation, as a function, a method, a module's call or a part of a Sequential.

    Not where something else but the loss, or what only compares scores, reads its output.
    """
    if activation.location is None or not _serves_only(program, graph, activation, loss):
        return None
    return edits.drop_operation(program, activation)


def _serves_only(
    program: TrainingProgram, graph: FlowGraph, activation: Flow, loss: LossCall
) -> bool:
    results = {each.flow for each in program.losses if each.name == loss.name}
    for flow in program.flows:
        if flow.op != activation.op or flow.location != activation.location:
            continue
        if flow.layer != activation.layer:
            continue
        for user in graph.users(flow):
            if user.id not in results and user.op not in ORDER_ONLY:
                return False
    return True


def rename_operation(program: TrainingProgram, flow: Flow, function: str, cls: str) -> Changes:
    """Compute ``function`` (or the module ``cls``) in the place of what made ``flow``."""
    layer = object_of(program, flow.layer)
    if layer is not None:
        call = edits.call_at(program, layer.location)
        if call is None or call.method != layer.cls.rpartition(".")[2]:
            return None
        return edits.rename_last_part(program, layer.location, cls)
    call = edits.call_at(program, flow.location)
    if call is None or call.method != flow.op:
        return None
    return edits.rename_last_part(program, flow.location, function)


def rename_loss(program: TrainingProgram, loss: LossCall, function: str, cls: str) -> Changes:
    """Use another loss, ``function`` or the class ``cls``, with the same arguments."""
    criterion = object_of(program, loss.object)
    if criterion is None:
        call = edits.call_at(program, loss.location)
        if call is None or call.method != loss.name:
            return None
        return edits.rename_last_part(program, loss.location, function)
    call = edits.call_at(program, criterion.location)
    if call is None or call.method != criterion.cls.rpartition(".")[2]:
        return None
    return edits.rename_last_part(program, criterion.location, cls)


def set_loss_argument(program: TrainingProgram, loss: LossCall, name: str, text: str) -> Changes:
    """Give a setting of the loss, where it is constructed or, for a function, called."""
    criterion = object_of(program, loss.object)
    place = loss.location if criterion is None else criterion.location
    return edits.set_argument(program, place, name, text)
