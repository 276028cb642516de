"""Parameters at the held batches: their scale, their gradients, and who knows about them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch

from convlint.gpu_probes.backends import multi_tensor_statistics
from convlint.gpu_probes.backends.statistics import COUNT, SUM_OF_SQUARES, plain
from convlint.gpu_probes.observations import Parameter, Place
from convlint.gpu_probes.quantities.uncertainty import finite_or_none

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

SAME_GRADIENT: Final = 1e-5
"""Rows of a gradient count as equal within this share of its largest entry: equal units get equal
gradients up to the order in which a parallel matrix product adds float32 terms (about 1e-7)."""


@dataclass(frozen=True)
class TrackedParameter:
    """A leaf tensor to follow: ``module`` and ``cls`` name the module that owns it, ``depth`` that
    module's order of first use, ``registered`` whether the root module lists it."""

    name: str
    tensor: torch.Tensor
    module: str
    cls: str
    depth: int = -1
    place: Place | None = None
    registered: bool = True


@dataclass(frozen=True)
class WeightScale:
    """Root mean squares of a module's weight and of its gradient."""

    weight_rms: float | None
    weight_grad_rms: float | None


@dataclass
class _Seen:
    tracked: TrackedParameter
    shape: tuple[int, ...]
    requires_grad: bool
    weight_rms: float | None
    rows_equal: bool
    gradient_rows_equal: bool = True
    optimized: bool = False
    reached: bool = False
    batches: int = 0
    gradients: int = 0
    squares: float = 0.0
    elements: float = 0.0
    all_zero: bool = True


class ParameterRecorder:
    """Follows every parameter over the held batches, at unchanged parameters.

    Two small transfers from the device per batch: the table of statistics and the row comparison
    of the few weights whose rows are all equal.
    """

    def __init__(self) -> None:
        self._seen: dict[int, _Seen] = {}

    def after_backward(
        self,
        parameters: Sequence[TrackedParameter],
        leaf_ids: Container[int] | None,
        optimized_ids: Container[int],
        gradients: Mapping[int, torch.Tensor | None] | None = None,
    ) -> None:
        """Read the gradients that one held batch left.

        ``leaf_ids`` are ``id``s of the leaves in the backward graph (None when it could not be
        walked: whoever has a gradient then counts as reached), ``optimized_ids`` those of the
        parameters any optimizer holds. ``gradients`` by ``id`` gives this batch's own gradients
        where ``.grad`` would hold a sum of several batches.
        """
        usable = [p for p in parameters if measurable(p.tensor)]
        with torch.no_grad():
            self._meet([p for p in usable if id(p.tensor) not in self._seen])
            present: list[tuple[_Seen, torch.Tensor]] = []
            for parameter in usable:
                seen = self._seen[id(parameter.tensor)]
                seen.batches += 1
                seen.optimized |= id(parameter.tensor) in optimized_ids
                gradient = (
                    parameter.tensor.grad
                    if gradients is None
                    else gradients.get(id(parameter.tensor))
                )
                if leaf_ids is None:
                    seen.reached |= gradient is not None
                else:
                    seen.reached |= id(parameter.tensor) in leaf_ids
                if gradient is not None:
                    present.append((seen, gradient))
            self._read_gradients(present)

    def _meet(self, newcomers: Sequence[TrackedParameter]) -> None:
        statistics = multi_tensor_statistics([p.tensor for p in newcomers], norms_only=True)
        equal = _rows_equal([p.tensor for p in newcomers], 0.0)
        rows = statistics.on_host()
        for parameter, row, rows_equal in zip(newcomers, rows, equal, strict=True):
            rms = math.sqrt(row[SUM_OF_SQUARES] / row[COUNT])
            self._seen[id(parameter.tensor)] = _Seen(
                tracked=parameter,
                shape=tuple(parameter.tensor.shape),
                requires_grad=parameter.tensor.requires_grad,
                weight_rms=finite_or_none(rms),
                rows_equal=rows_equal,
            )

    def _read_gradients(self, present: Sequence[tuple[_Seen, torch.Tensor]]) -> None:
        gradients = [gradient for _, gradient in present]
        rows = multi_tensor_statistics(gradients, norms_only=True).on_host()
        for (seen, _), row in zip(present, rows, strict=True):
            seen.gradients += 1
            seen.squares += row[SUM_OF_SQUARES]
            seen.elements += row[COUNT]
            seen.all_zero &= row[SUM_OF_SQUARES] == 0
        candidates = [
            (seen, gradient)
            for seen, gradient in present
            if seen.rows_equal and seen.gradient_rows_equal
        ]
        equal = _rows_equal([gradient for _, gradient in candidates], SAME_GRADIENT)
        for (seen, _), rows_equal in zip(candidates, equal, strict=True):
            seen.gradient_rows_equal = rows_equal

    def results(self) -> tuple[Parameter, ...]:
        """One `Parameter` per tensor, in the order they were first met."""
        return tuple(_parameter(seen) for seen in self._seen.values())

    def weights_by_module(self) -> dict[str, WeightScale]:
        """Scale of each module's ``weight`` (else its largest matrix), for `GradientFlow`."""
        chosen: dict[str, _Seen] = {}
        for seen in self._seen.values():
            held = chosen.get(seen.tracked.module)
            if len(seen.shape) >= 2 and (held is None or _is_weight(seen) > _is_weight(held)):
                chosen[seen.tracked.module] = seen
        return {
            module: WeightScale(seen.weight_rms, _gradient_rms(seen))
            for module, seen in chosen.items()
        }


def measurable(tensor: torch.Tensor) -> bool:
    """Whether ``tensor`` holds numbers: not on the meta device, not lazy, not quantised."""
    return (
        not tensor.is_meta
        and not torch.nn.parameter.is_lazy(tensor)
        and not tensor.is_quantized
        and tensor.numel() > 0
    )


def _is_weight(seen: _Seen) -> bool:
    return seen.tracked.name.rpartition(".")[2] == "weight"


def _gradient_rms(seen: _Seen) -> float | None:
    return finite_or_none(math.sqrt(seen.squares / seen.elements)) if seen.elements else None


def _parameter(seen: _Seen) -> Parameter:
    tracked = seen.tracked
    return Parameter(
        name=tracked.name,
        module=tracked.module,
        cls=tracked.cls,
        shape=seen.shape,
        requires_grad=seen.requires_grad,
        weight_rms=seen.weight_rms,
        grad_rms=_gradient_rms(seen),
        missing=seen.gradients == 0,
        zero=seen.gradients > 0 and seen.all_zero,
        registered=tracked.registered,
        optimized=seen.optimized,
        symmetric=seen.rows_equal and seen.gradients > 0 and seen.gradient_rows_equal,
        reached=seen.reached,
        depth=tracked.depth,
        batches=seen.batches,
        place=tracked.place,
    )


def _rows_equal(tensors: Sequence[torch.Tensor], tolerance: float) -> list[bool]:
    """Whether all rows (first dimension) of each weight equal its first row, in one transfer.

    Vectors, single rows and scalars have no rows to compare: False.
    """
    verdicts: list[torch.Tensor | None] = []
    for tensor in tensors:
        # A sparse gradient keeps only the rows that were used, so rows cannot be compared.
        if tensor.layout != torch.strided or tensor.dim() < 2 or tensor.shape[0] < 2:
            verdicts.append(None)
            continue
        values = plain(tensor)
        deviation = (values - values[:1]).abs().max()
        verdicts.append(deviation <= tolerance * values.abs().max())
    known = [verdict for verdict in verdicts if verdict is not None]
    host = iter(
        torch.stack([verdict.to(known[0].device) for verdict in known]).tolist() if known else ()
    )
    return [False if verdict is None else bool(next(host)) for verdict in verdicts]
