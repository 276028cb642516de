"""What a loss was computed from: the nodes of its graph and the leaves they end in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Beyond this a graph is cut off: an unrolled recurrence of a million nodes tells nothing new.
_LARGEST_WALK = 500_000


@dataclass
class LossGraph:
    """``leaves`` by identity, and the ``nodes`` visited on the way to them."""

    leaves: dict[int, torch.Tensor] = field(default_factory=dict)
    nodes: set[Any] = field(default_factory=set)

    def contains(self, nodes: Iterable[Any]) -> bool:
        """Whether any of ``nodes`` took part in the loss."""
        return any(node in self.nodes for node in nodes)


def walk_graph(roots: Iterable[torch.Tensor]) -> LossGraph:
    """Follow ``grad_fn`` from the back-propagated tensors down to the leaves."""
    graph = LossGraph()
    waiting = []
    for root in roots:
        if root.grad_fn is not None:
            waiting.append(root.grad_fn)
        elif root.requires_grad:
            graph.leaves[id(root)] = root
    while waiting and len(graph.nodes) < _LARGEST_WALK:
        node = waiting.pop()
        if node in graph.nodes:
            continue
        graph.nodes.add(node)
        leaf = getattr(node, "variable", None)
        if isinstance(leaf, torch.Tensor):
            graph.leaves[id(leaf)] = leaf
        waiting.extend(below for below, _ in node.next_functions if below is not None)
    return graph


def tensors_in(value: object, levels: int = 3) -> Iterator[torch.Tensor]:
    """The tensors of an argument or a result, through tuples, lists, dicts and dataclasses."""
    if isinstance(value, torch.Tensor):
        yield value
    elif levels > 0 and isinstance(value, dict):
        for item in value.values():
            yield from tensors_in(item, levels - 1)
    elif levels > 0 and isinstance(value, tuple | list):
        for item in value:
            yield from tensors_in(item, levels - 1)
    elif levels > 0 and hasattr(value, "__dataclass_fields__"):
        for name in value.__dataclass_fields__:
            yield from tensors_in(getattr(value, name, None), levels - 1)
