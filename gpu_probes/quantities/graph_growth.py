"""Do the graphs of past steps stay alive, or become part of the next? (FLO012)"""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

from convlint.gpu_probes.observations import GraphGrowth

if TYPE_CHECKING:
    import torch

    from convlint.gpu_probes.observations import Place

_KEY = "convlint graph"

_GROWTH_TO_VERIFY = 6
"""After so many passes in a row that found one graph more, those that wait for the search for
garbage are freed: what the script can no longer reach does not count."""


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
        self._grown = 0

    def back_propagated(
        self, loss: torch.Tensor, nodes: int | None, place: Place | None = None
    ) -> None:
        """One loss is about to be back-propagated; ``nodes`` is the size of its graph if walked."""
        self._place = place
        node = loss.grad_fn
        if node is None:
            return
        self._alive.append(self._count())
        if nodes is not None:
            self._nodes.append(nodes)
        mark = _Mark()
        # A property in truth; torch's annotation leaves that out.
        metadata: Any = node.metadata
        metadata[_KEY] = mark
        self._marks.add(mark)

    def _count(self) -> int:
        alive = len(self._marks)
        grown = bool(self._alive) and alive > self._alive[-1]
        self._grown = self._grown + 1 if grown else 0
        if self._grown == _GROWTH_TO_VERIFY:
            self._grown = 0
            gc.collect()
            alive = len(self._marks)
        return alive

    def results(self) -> GraphGrowth | None:
        """The two series, None when no loss was back-propagated."""
        if not self._alive:
            return None
        return GraphGrowth(alive=tuple(self._alive), nodes=tuple(self._nodes), place=self._place)
