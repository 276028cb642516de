"""Gradients over the real steps, module by module: where and when they vanish or explode."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, TypeVar

import torch

from convlint.gpu_probes.backends import multi_tensor_statistics
from convlint.gpu_probes.backends.statistics import SUM_OF_SQUARES
from convlint.gpu_probes.observations import GradientHistory
from convlint.gpu_probes.quantities.parameters import measurable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from convlint.gpu_probes.observations import Place

T = TypeVar("T")

MOST_MODULES: Final = 48
MOST_STEPS: Final = 120
"""More of either than this can neither be drawn nor read; they are thinned evenly."""

DIGITS: Final = 3
"""Significant digits that are kept: the values are for the eye."""


class GradientHistoryRecorder:
    """The norm of every gradient just before each real step, kept on its device until the end.

    ``describe(tensor)`` gives a parameter's name and the line that created it.
    """

    def __init__(self, describe: Callable[[torch.Tensor], tuple[str, Place | None]]) -> None:
        self._describe = describe
        self._tensors: dict[int, torch.Tensor] = {}
        self._coming: tuple[tuple[int, ...], torch.Tensor] | None = None
        self._steps: list[tuple[tuple[int, ...], torch.Tensor] | None] = []

    @torch.no_grad()
    def observe(self, parameters: Iterable[torch.Tensor]) -> torch.Tensor:
        """Look at the gradients before a step; of several looks the first one counts.

        Returns their global Euclidean norm, a float64 scalar left on the device: zero when no
        parameter has a gradient, NaN or infinite when a gradient is.
        """
        held = [p for p in parameters if p.grad is not None and measurable(p.grad)]
        if not held:
            return torch.zeros((), dtype=torch.float64)
        gradients = [p.grad for p in held if p.grad is not None]
        squares = multi_tensor_statistics(gradients, norms_only=True).column(SUM_OF_SQUARES)
        if self._coming is None:
            self._tensors.update((id(p), p) for p in held)
            self._coming = tuple(map(id, held)), squares
        return squares.sum().sqrt()

    def stepped(self) -> None:
        """The step these gradients were for was taken."""
        self._steps.append(self._coming)
        self._coming = None

    def results(self) -> GradientHistory | None:
        """Root mean squares by module and step; None when no gradient was seen."""
        modules: dict[str, list[int]] = {}
        for key, tensor in self._tensors.items():
            name, _ = self._describe(tensor)
            modules.setdefault(name.rpartition(".")[0] or name, []).append(key)
        if not modules:
            return None
        names = _spread(list(modules), MOST_MODULES)
        steps = _spread(range(len(self._steps)), MOST_STEPS)
        rows: list[list[float | None]] = [[] for _ in names]
        for step in steps:
            seen = self._steps[step]
            keys, squares = ((), []) if seen is None else (seen[0], seen[1].tolist())
            found = dict(zip(keys, squares, strict=True))
            for row, name in zip(rows, names, strict=True):
                row.append(self._rms(modules[name], found))
        return GradientHistory(tuple(names), tuple(steps), tuple(map(tuple, rows)))

    def _rms(self, keys: Sequence[int], squares: dict[int, float]) -> float | None:
        present = [key for key in keys if key in squares]
        elements = sum(self._tensors[key].numel() for key in present)
        total = sum(squares[key] for key in present)
        if not elements or not math.isfinite(total):
            return None
        return float(f"{math.sqrt(total / elements):.{DIGITS}g}")


def _spread(items: Sequence[T], most: int) -> list[T]:
    """At most ``most`` of ``items``, evenly spaced, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]
