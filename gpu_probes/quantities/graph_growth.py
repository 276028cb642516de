"""Do the graphs of past steps stay alive, or become part of the next? (FLO012)"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from convlint.gpu_probes.observations import GraphGrowth

if TYPE_CHECKING:
    import torch

    from convlint.gpu_probes.observations import Place

_KEY = "convlint graph"


class _Mark:
    """Lives exactly as long as the graph node it is attached to."""

    __slots__ = ("__weakref__",)


class GraphGrowthRecorder:
    """Counts back-propagated graphs that are still alive, and the nodes of each.

    A mark in the metadata of a loss's last node lives as long as the node does: as long as the
    script can reach the loss, or anything computed from it, with its history.
    """

    def __init__(self) -> None:
        self._marks: weakref.WeakSet[_Mark] = weakref.WeakSet()
        self._alive: list[int] = []
        self._nodes: list[int] = []
        self._place: Place | None = None

    def back_propagated(
        self, loss: torch.Tensor, nodes: int | None, place: Place | None = None
    ) -> None:
        """One loss is about to be back-propagated; ``nodes`` is the size of its graph if walked."""
        self._place = place
        node = loss.grad_fn
        if node is None:
            return
        self._alive.append(len(self._marks))
        if nodes is not None:
            self._nodes.append(nodes)
        mark = _Mark()
        # A property in truth; torch's annotation leaves that out.
        metadata: Any = node.metadata
        metadata[_KEY] = mark
        self._marks.add(mark)

    def results(self) -> GraphGrowth | None:
        """The two series, None when no loss was back-propagated."""
        if not self._alive:
            return None
        return GraphGrowth(alive=tuple(self._alive), nodes=tuple(self._nodes), place=self._place)
