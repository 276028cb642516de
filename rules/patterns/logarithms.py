"""Logarithms of probabilities, and where those probabilities come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from convlint.program.facts import EventKind, ObjectKind
from convlint.rules.patterns.flows import JOIN, SHAPE_OPS, objects_by_id
from convlint.rules.patterns.gradients import events_of_kind
from convlint.rules.patterns.offsets import constant_operand

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import Flow, TrainingProgram
    from convlint.rules.patterns.flows import FlowGraph

__all__ = ["Logarithm", "is_log", "logarithms", "logarithms_of_shares"]

PROBABILITIES = frozenset({"softmax", "softmax2d", "sigmoid"})
PASSING = SHAPE_OPS | {"gather"}
LARGEST_OFFSET = 1e-3
"""A constant up to here only guards the logarithm; a larger one changes what is computed."""


class Logarithm(msgspec.Struct, frozen=True):
    """``log(p)``, ``log(p + offset)`` or, when ``complement``, ``log(1 - p)``.

    ``of_model`` is true when p was returned by a model rather than computed beside the logarithm.
    """

    flow: Flow
    source: Flow
    location: Location
    complement: bool = False
    offset: float | None = None
    of_model: bool = False


def is_log(flow: Flow) -> bool:
    """Whether ``flow`` is a natural logarithm of torch."""
    return flow.op == "log" and bool(flow.inputs) and flow.name.startswith("torch.")


def logarithms(program: TrainingProgram, graph: FlowGraph) -> Iterator[Logarithm]:
    """The logarithms of a softmax or sigmoid with nothing but a small constant in between."""
    returned = _returned_by_models(program)
    for flow in program.flows:
        if not is_log(flow) or flow.location is None:
            continue
        complement, offset = False, None
        number = flow.inputs[0]
        inner = graph.get(number)
        while inner is not None and inner.op in ("add", "sub") and len(inner.inputs) == 1:
            left, right = (constant_operand(inner, side) for side in ("left", "right"))
            if inner.op == "sub" and left == 1 and not complement:
                complement = True
            elif inner.op == "add" and 0 < (right or left or 0) <= LARGEST_OFFSET:
                offset = right or left
            else:
                break
            number = inner.inputs[0]
            inner = graph.get(number)
        source = graph.agreed_origin(number, PROBABILITIES, PASSING)
        if source is not None:
            of_model = _passes(graph, number, source, returned)
            yield Logarithm(flow, source, flow.location, complement, offset, of_model)


def logarithms_of_shares(program: TrainingProgram, graph: FlowGraph) -> Iterator[Logarithm]:
    """The logarithms of ``x / x.sum()``."""
    for flow in program.flows:
        if not is_log(flow) or flow.location is None:
            continue
        share = graph.agreed_origin(flow.inputs[0], frozenset({"div"}), PASSING)
        if share is None or len(share.inputs) != 2:
            continue
        total = graph.agreed_origin(share.inputs[1], frozenset({"sum"}))
        if total is not None and total.inputs[:1] == share.inputs[:1]:
            part = graph.get(share.inputs[0])
            if part is not None and part.op != "exp":
                yield Logarithm(flow, share, flow.location)


def _returned_by_models(program: TrainingProgram) -> frozenset[int]:
    """The tensors that calls of models gave."""
    objects = objects_by_id(program)
    return frozenset(
        event.flow
        for event in events_of_kind(program, EventKind.FORWARD)
        if event.flow is not None
        and event.target is not None
        and (
            objects[event.target].kind is ObjectKind.MODEL
            or objects[event.target].cls == "torch.nn.Sequential"
        )
    )


def _passes(graph: FlowGraph, number: int, source: Flow, returned: frozenset[int]) -> bool:
    """Whether a tensor returned by a model lies between ``number`` and ``source``, both included."""
    pending, seen = [number], set[int]()
    while pending:
        flow = graph.get(pending.pop())
        if flow is None or flow.id in seen:
            continue
        seen.add(flow.id)
        if flow.id in returned:
            return True
        if flow.op == JOIN:
            pending.extend(flow.inputs)
        elif flow.op in PASSING and flow.id != source.id and flow.inputs:
            pending.append(flow.inputs[0])
    return False
