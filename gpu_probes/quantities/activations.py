"""Dead and saturated units of every activation over the held batches (PROBES.md M3)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import torch

from convlint.gpu_probes.backends.statistics import plain
from convlint.gpu_probes.observations import Activation, Place
from convlint.gpu_probes.quantities.activation_derivatives import DERIVATIVES
from convlint.gpu_probes.quantities.parameters import measurable
from convlint.gpu_probes.quantities.uncertainty import finite_or_none

if TYPE_CHECKING:
    from collections.abc import Iterable

EXACT_ZERO_KINDS: Final = frozenset({"relu", "relu6", "threshold", "hardshrink", "softshrink"})
"""Activations whose flat part is exactly zero, so that a unit can be dead."""

SATURATED_BELOW: Final = 0.05
"""Share of the largest derivative: \\|x\\| > 2.18 for tanh, > 4.36 for the sigmoid."""

MASKED_LOGIT: Final = -1e4
"""A softmax input this low was masked: no network reaches it, and float16 allows no lower mask
than -65504."""

CHUNK: Final = 1 << 22
"""Elements widened to float64 at a time (32 MiB of scratch)."""


@dataclass
class _Sums:
    """Sums over all calls of one activation; tensors of shape (units,) or () on its device."""

    cls: str
    kind: str
    depth: int
    inside: str
    place: Place | None
    units: int
    samples: int = 0
    elements: int = 0
    sum: torch.Tensor | None = None
    squares: torch.Tensor | None = None
    non_finite: torch.Tensor | None = None
    largest: torch.Tensor | None = None
    """Largest magnitude of each unit."""
    slope: torch.Tensor | None = None
    """Sum of \\|f'\\| of each unit."""
    slope_samples: int = 0
    rows: torch.Tensor | None = None
    """(saturated, judged) rows of a softmax."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


class ActivationRecorder:
    """Accumulates each activation's output; nothing waits for the device before ``results``.

    A unit is a channel: dimension 1 of maps with four or five dimensions, else the last one. For
    a softmax the unit is a row, the values that sum to one: its Jacobian diag(p) - p p^T has
    spectral norm at most 2 p (1 - p) with p the largest probability, so a row is saturated when
    4 p (1 - p) < 0.05, which is the sigmoid's own criterion.
    """

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str], _Sums] = {}

    @torch.no_grad()
    def observe(
        self,
        name: str,
        cls: str,
        kind: str,
        depth: int,
        tensor_in: torch.Tensor | None,
        tensor_out: torch.Tensor,
        place: Place | None,
        inside: str = "",
        *,
        dim: int | None = None,
    ) -> None:
        """Add one call. ``dim`` overrides the unit dimension (a softmax: the one it sums over).

        ``tensor_in`` may be None, or overwritten by an in-place activation: what would need it
        is then not measured.
        """
        if not measurable(tensor_out) or not tensor_out.is_floating_point():
            return
        output = plain(tensor_out)
        entered = None if tensor_in is None else plain(tensor_in)
        if entered is not None and (
            entered.shape != output.shape or entered.data_ptr() == output.data_ptr()
        ):
            entered = None
        if output.dim() == 0:
            return
        axis = unit_dimension(output.dim(), kind) if dim is None else dim % output.dim()
        units = output.shape[axis]
        sums = self._sums.get((name, kind))
        if sums is None:
            sums = _Sums(cls, kind, depth, inside, place, units, device=output.device)
            self._sums[name, kind] = sums
        _add_scalars(sums, output)
        if kind == "softmax":
            _add_rows(sums, entered, output, axis)
        elif units == sums.units:
            sums.samples += output.numel() // units
            _add_units(sums, entered, output, axis)
        else:
            # A unit dimension that varies between calls (a sequence length) has no fixed units.
            sums.units = 0
            sums.largest = sums.slope = None

    def results(self) -> tuple[Activation, ...]:
        """One `Activation` per activation, in order of first use."""
        return tuple(_activation(name, sums) for (name, _), sums in self._sums.items())


def unit_dimension(dimensions: int, kind: str) -> int:
    """Which dimension of an activation's output counts its units."""
    return 1 if dimensions in (4, 5) and kind != "softmax" else dimensions - 1


def _total(held: torch.Tensor | None, added: torch.Tensor) -> torch.Tensor:
    return added if held is None else held + added.to(held.device)


def _add_scalars(sums: _Sums, output: torch.Tensor) -> None:
    sums.elements += output.numel()
    flat = output.reshape(-1)
    for start in range(0, flat.numel(), CHUNK):
        part = flat[start : start + CHUNK]
        finite = part.isfinite()
        wide = part.double().masked_fill(~finite, 0.0)
        sums.sum = _total(sums.sum, wide.sum())
        sums.squares = _total(sums.squares, wide.square().sum())
        sums.non_finite = _total(sums.non_finite, part.numel() - finite.sum())


def _add_units(sums: _Sums, entered: torch.Tensor | None, output: torch.Tensor, axis: int) -> None:
    others = [d for d in range(output.dim()) if d != axis]
    if sums.kind in EXACT_ZERO_KINDS:
        largest = output.abs().amax(dim=others) if others else output.abs()
        sums.largest = (
            largest
            if sums.largest is None
            else torch.maximum(sums.largest, largest.to(sums.largest.device))
        )
    derivative = DERIVATIVES.get(sums.kind)
    if derivative is None:
        return
    values = output if derivative.from_output else entered
    if values is None:
        return
    sums.slope_samples += values.numel() // sums.units
    for part in _split(values, axis):
        # In float64: 1 - y^2 of a saturated float32 tanh has lost its digits, not its meaning.
        slope = derivative.of(part.double()).abs()
        sums.slope = _total(sums.slope, slope.sum(dim=others) if others else slope)


def _add_rows(sums: _Sums, entered: torch.Tensor | None, output: torch.Tensor, axis: int) -> None:
    if output.shape[axis] < 2:
        return
    sums.samples += output.numel() // output.shape[axis]
    largest = output.amax(dim=axis).double()
    judged = torch.ones_like(largest, dtype=torch.bool)
    if entered is not None:
        # A row with one visible entry (the first of a causal mask) is 1 by construction.
        judged = (entered > MASKED_LOGIT).sum(dim=axis) > 1
    saturated = (4 * largest * (1 - largest) < SATURATED_BELOW) & judged
    sums.rows = _total(sums.rows, torch.stack([saturated.sum(), judged.sum()]))


def _split(values: torch.Tensor, axis: int) -> Iterable[torch.Tensor]:
    """Pieces of ``values`` of at most about `CHUNK` elements, cut along another dimension."""
    along = next((d for d in range(values.dim()) if d != axis), axis)
    if along == axis:
        return (values,)
    rows = max(1, CHUNK // max(1, values.numel() // values.shape[along]))
    return torch.split(values, rows, dim=along)


def _activation(name: str, sums: _Sums) -> Activation:
    finite = sums.elements - _number(sums.non_finite)
    mean = _number(sums.sum) / finite if finite else math.nan
    rms = math.sqrt(_number(sums.squares) / finite) if finite else math.nan
    return Activation(
        module=name,
        cls=sums.cls,
        kind=sums.kind,
        depth=sums.depth,
        units=sums.units,
        samples=sums.samples,
        dead_fraction=_dead_fraction(sums),
        saturated_fraction=_saturated_fraction(sums),
        mean=finite_or_none(mean),
        rms=finite_or_none(rms),
        non_finite=int(_number(sums.non_finite)),
        inside=sums.inside,
        place=sums.place,
    )


def _number(tensor: torch.Tensor | None) -> float:
    return 0.0 if tensor is None else float(tensor.item())


def _dead_fraction(sums: _Sums) -> float | None:
    if sums.largest is None:
        return None
    # NaN == 0 is false: a unit that became NaN is not called dead.
    return float((sums.largest == 0).double().mean().item())


def _saturated_fraction(sums: _Sums) -> float | None:
    if sums.rows is not None:
        saturated, judged = sums.rows.tolist()
        return saturated / judged if judged else None
    derivative = DERIVATIVES.get(sums.kind)
    if derivative is None or sums.slope is None or not sums.slope_samples:
        return None
    share = sums.slope / sums.slope_samples / derivative.largest
    return float((share < SATURATED_BELOW).double().mean().item())
