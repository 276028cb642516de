"""The first NaN or infinity of each kind of tensor, with where and when (PROBES.md M4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch

from convlint.gpu_probes.backends.statistics import plain
from convlint.gpu_probes.observations import NonFinite, Place
from convlint.gpu_probes.quantities.parameters import measurable

if TYPE_CHECKING:
    from collections.abc import Iterable

PENDING_CHECKS: Final = 4096
"""Extremes kept on the device before they are read: one transfer per that many checks."""

MAY_BE_MASKED: Final = frozenset({"input", "activation"})
"""Where minus infinity beside finite numbers is the usual way to mask attention or actions."""


@dataclass(frozen=True)
class _Check:
    what: str
    name: str
    phase: str
    step: int
    place: Place | None


class NonFiniteDetector:
    """Watches inputs, activations, losses, gradients and weights for NaN and infinity.

    Each check leaves the smallest and largest value of a tensor on the device (NaN propagates
    through both); the host reads them in bulk. Under a GradScaler infinite gradients are part of
    its search for a scale: check gradients after unscaling, or not at all.
    """

    def __init__(self) -> None:
        self._pending: list[tuple[_Check, torch.Tensor]] = []
        self._first: dict[str, NonFinite] = {}

    @torch.no_grad()
    def check(
        self,
        what: str,
        name: str,
        tensor: torch.Tensor,
        phase: str,
        step: int,
        place: Place | None = None,
    ) -> None:
        """Queue one tensor: ``what`` is input, activation, loss, gradient or weight."""
        if what in self._first or not _checkable(tensor):
            return
        values = plain(tensor)
        if values.numel() == 0:
            return
        extremes = torch.stack(torch.aminmax(values)).double()
        self._pending.append((_Check(what, name, phase, step, place), extremes))
        if len(self._pending) >= PENDING_CHECKS:
            self._read()

    def check_all(
        self,
        what: str,
        tensors: Iterable[tuple[str, torch.Tensor, Place | None]],
        phase: str,
        step: int,
    ) -> None:
        """Queue many tensors of one kind, given as (name, tensor, place)."""
        for name, tensor, place in tensors:
            self.check(what, name, tensor, phase, step, place)

    @property
    def found(self) -> bool:
        """Whether anything non-finite was seen so far (reads the queue)."""
        self._read()
        return bool(self._first)

    def results(self) -> tuple[NonFinite, ...]:
        """The first of each kind, in the order they happened."""
        self._read()
        return tuple(self._first.values())

    def _read(self) -> None:
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        home = pending[0][1].device
        extremes = torch.stack([values.to(home) for _, values in pending]).tolist()
        for (check, _), (smallest, largest) in zip(pending, extremes, strict=True):
            kind = _kind(check.what, smallest, largest)
            if kind and check.what not in self._first:
                self._first[check.what] = NonFinite(
                    check.what, check.name, check.phase, check.step, kind, check.place
                )


def _checkable(tensor: torch.Tensor) -> bool:
    return measurable(tensor) and (tensor.is_floating_point() or tensor.is_complex())


def _kind(what: str, smallest: float, largest: float) -> str:
    """``nan``, ``inf`` or empty."""
    if smallest != smallest:
        return "nan"
    if largest == float("inf"):
        return "inf"
    if smallest == float("-inf"):
        masked = what in MAY_BE_MASKED and largest > float("-inf")
        return "" if masked else "inf"
    return ""
