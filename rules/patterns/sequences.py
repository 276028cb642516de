"""How many steps a recurrent layer is unrolled over, where the source tells."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from convlint.lazy_regex import lazy_regex
from convlint.rules.patterns.datasets import batch_source
from convlint.rules.patterns.flows import JOIN, PLACEMENT_OPS, FlowGraph, objects_by_id
from convlint.rules.patterns.layers import ACTIVATION_OPS, DROPOUT_OPS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.program.facts import Flow, Object, TrainingProgram, Value

__all__ = ["longest_sequence"]

_KEEPS_TIME = (
    PLACEMENT_OPS
    | DROPOUT_OPS
    | ACTIVATION_OPS
    | frozenset({"embedding", "linear", "layer_norm", "add", "mul", "sub", "div"})
)
"""Operations that leave the axis of time where it is."""
_SIZED = frozenset({"<constant>", "view", "reshape"})
_AXES = 2
"""Batch and time."""
_NAMES = lazy_regex(
    r"^(max_)?(seq(uence)?_?(len(gth)?|size)|time_?steps|(num|n)_(time)?steps|bptt|window(_size)?|look_?back)$",
    re.IGNORECASE,
)
_MOST_OBJECTS = 2000


def longest_sequence(program: TrainingProgram, graph: FlowGraph, layer: Object) -> float | None:
    """The number of steps this layer runs over at most, or None when it is not known.

    It is read from the shape of what the layer is applied to (``randn(64, 10, 8)``,
    ``x.view(-1, 10, 8)``), or else from the arguments that name it (``seq_len=10``).
    """
    first = layer.args.get("batch_first")
    axis = 1 if first is not None and first.constant is True else 0
    applied = [flow for flow in program.flows if flow.layer == layer.id and flow.inputs]
    lengths = [_length(program, graph, flow.inputs[0], axis) for flow in applied]
    known = [length for length in lengths if length is not None]
    if applied and len(known) == len(applied):
        return max(known)
    named = list(_named(program))
    return max(named) if named else None


def _length(program: TrainingProgram, graph: FlowGraph, number: int, axis: int) -> float | None:
    """The extent of the axis of time of this tensor."""
    objects = objects_by_id(program)
    pending: list[int | None] = [number]
    seen: set[int] = set()
    lengths: list[float] = []
    while pending:
        flow = graph.get(pending.pop())
        if flow is None:
            return None
        if flow.id in seen:
            continue
        seen.add(flow.id)
        if flow.op == JOIN:
            pending.extend(flow.inputs)
        elif flow.op in _SIZED:
            length = _extent(flow, axis)
            if length is None:
                return None
            lengths.append(length)
        elif flow.op == "<batch>":
            source = batch_source(graph, objects, flow)
            if source is None or axis == 0:
                return None
            pending.append(source.id)
        elif flow.op in _KEEPS_TIME and flow.inputs:
            pending.append(flow.inputs[0])
        else:
            return None
    return max(lengths, default=None)


def _extent(flow: Flow, axis: int) -> float | None:
    """The size of an axis of a tensor whose shape is written out."""
    shape = _shape(flow)
    if len(shape) < _AXES:
        return None
    extent = shape[axis].number
    return extent if extent is not None and extent > 0 else None


def _shape(flow: Flow) -> tuple[Value, ...]:
    """The shape among the arguments: numbers one by one, or a tuple."""
    numbers = [flow.args[str(at)] for at in range(len(flow.args)) if str(at) in flow.args]
    for value in (flow.args.get("size"), flow.args.get("shape"), *numbers):
        if value is not None and value.items is not None:
            return value.items
    return tuple(numbers)


def _named(program: TrainingProgram) -> Iterator[float]:
    """The values of all arguments that are named like the length of a sequence."""
    for item in program.objects[:_MOST_OBJECTS]:
        for name, value in (*item.args.items(), *item.attributes.items()):
            if _NAMES.match(name) and value.number is not None:
                yield value.number
