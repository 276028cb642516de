"""Which tensors take gradients: from a loss that is back-propagated to weights that learn."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from convlint.program.facts import Event, EventKind, Loop, ObjectKind
from convlint.rules.patterns.flows import objects_by_id
from convlint.rules.patterns.layers import (
    is_attention,
    is_normalisation,
    is_recurrent,
    is_weight_layer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.program.facts import Flow, Node, TrainingProgram
    from convlint.rules.patterns.flows import FlowGraph

__all__ = ["Gradients", "events_of_kind", "holds_weights"]


def holds_weights(op: str) -> bool:
    """Whether an operation has trainable weights of its own."""
    return (
        op in ("<parameter>", "embedding", "embedding_bag")
        or is_weight_layer(op)
        or is_recurrent(op)
        or is_attention(op)
        or (is_normalisation(op) and op != "normalize")
    )


def events_of_kind(program: TrainingProgram, *kinds: EventKind) -> Iterator[Event]:
    """The events of these kinds, wherever they stand."""
    pending: list[Node] = [node for entry in program.entries for node in entry.body]
    while pending:
        node = pending.pop()
        if isinstance(node, Event):
            if node.kind in kinds:
                yield node
        elif isinstance(node, Loop):
            pending.extend(node.body)
        else:
            pending.extend(inner for arm in node.arms for inner in arm.body)


class Gradients:
    """The gradient's way through one program; each question costs one pass over its flows."""

    def __init__(self, program: TrainingProgram, graph: FlowGraph) -> None:
        """Prepare to judge the tensors of ``program``."""
        self._program = program
        self._graph = graph

    @cached_property
    def _carrying(self) -> frozenset[int]:
        models = {
            item.id
            for item in objects_by_id(self._program).values()
            if item.kind in (ObjectKind.MODEL, ObjectKind.LAYER)
        }
        carrying: set[int] = set()
        for flow in self._program.flows:
            if flow.detached:
                continue
            called = flow.op == "<unknown>" and bool({flow.layer, flow.source} & models)
            if called or holds_weights(flow.op) or not carrying.isdisjoint(flow.inputs):
                carrying.add(flow.id)
        return frozenset(carrying)

    @cached_property
    def _trained(self) -> frozenset[int]:
        starts = [e.flow for e in events_of_kind(self._program, EventKind.BACKWARD)]
        return self._behind(starts)

    @cached_property
    def _forward(self) -> frozenset[int]:
        return self._behind([o for model in self._program.models for o in model.outputs])

    def _behind(self, starts: list[int | None]) -> frozenset[int]:
        """``starts`` and all they were computed from."""
        met: set[int] = set()
        pending = list(starts)
        while pending:
            flow = self._graph.get(pending.pop())
            if flow is not None and flow.id not in met:
                met.add(flow.id)
                pending.extend(flow.inputs)
        return frozenset(met)

    def carries(self, number: int | None) -> bool:
        """Whether weights (of a layer, a parameter, a model we are handed) are behind a tensor
        with nothing that cuts the graph in between."""
        return number in self._carrying

    def is_trained(self, number: int | None) -> bool:
        """Whether a tensor goes into something that is back-propagated."""
        return number in self._trained

    def passes(self, flow: Flow) -> bool:
        """Whether a gradient passes through ``flow``: it depends on weights, and it goes into a
        back-propagated loss or into the output of a model."""
        return self.carries(flow.id) and (flow.id in self._trained or flow.id in self._forward)
