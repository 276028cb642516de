"""Which library module is applied directly to the output of which."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from convlint.rules.patterns.flows import FlowGraph, objects_by_id
from convlint.rules.patterns.layers import canonical

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.program.facts import Object, TrainingProgram

__all__ = ["is_batch_norm", "successive"]


def is_batch_norm(layer: Object) -> bool:
    """Whether a layer normalises over the batch."""
    op = canonical(layer.cls).removeprefix("lazy_")
    return op.startswith(("batch_norm", "sync_batch_norm"))


def successive(program: TrainingProgram) -> Iterator[tuple[Object, Object]]:
    """Pairs of modules of which the second takes the first one's output, and nothing else does.

    From the forwards that were analysed and from the order within every Sequential; each pair
    once.
    """
    objects, graph = objects_by_id(program), FlowGraph(program)
    returned = {number for model in program.models for number in model.outputs}
    met: set[tuple[int, int]] = set()
    for flow in program.flows:
        if flow.layer is None or len(flow.inputs) != 1:
            continue
        before = graph.get(flow.inputs[0])
        if before is None or before.layer is None or before.id in returned:
            continue
        if len(graph.users(before)) == 1:
            met.add((before.layer, flow.layer))
    for item in program.objects:
        if item.cls == "torch.nn.Sequential" and item.complete:
            met.update(pairwise(item.children.values()))
    for first, second in sorted(met):
        if first in objects and second in objects:
            yield objects[first], objects[second]
