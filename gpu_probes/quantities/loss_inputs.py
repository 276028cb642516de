"""What enters the loss function: probabilities, log-probabilities or raw scores (PROBES.md M0)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch

CHUNK: Final = 1 << 22

SUMS_TO_ONE: Final = 1e-3
"""How far a row of float32 probabilities may be from one."""

HALF_SUMS_TO_ONE: Final = 2e-2
"""The same for float16 and bfloat16: ten bfloat16 probabilities, each rounded to 2^-9."""


_SHAPING: Final = frozenset(
    (
        "Squeeze",
        "Unsqueeze",
        "View",
        "UnsafeView",
        "ReshapeAlias",
        "Select",
        "Slice",
        "Index",
        "Transpose",
        "Permute",
        "T",
        "Clone",
        "ToCopy",
        "Alias",
        "Expand",
        "Cat",
        "Gather",
    )
)
"""Operations that hand values on as they are."""


def made_by(tensor: torch.Tensor) -> str:
    """The operation that computed ``tensor``'s values, as autograd names it: ``Sigmoid``,
    ``Addmm``, ``Softmax`` ...; empty when there is no graph."""
    node = tensor.grad_fn
    while node is not None:
        name = node.name().split("Backward")[0]
        below = node.next_functions[0][0] if node.next_functions else None
        if name not in _SHAPING or below is None:
            return name
        node = below
    return ""


@dataclass
class EnteredSums:
    """Counts over rows and values, on the device: (rows, rows that sum to one, rows that are
    log-probabilities, values, values strictly inside (0, 1))."""

    counts: torch.Tensor

    def __add__(self, other: EnteredSums) -> EnteredSums:
        return EnteredSums(self.counts + other.counts.to(self.counts.device))

    def shares(self) -> tuple[float | None, float | None, float | None]:
        """Share of rows that sum to one, of values inside (0, 1), of log-probability rows."""
        rows, sums, logs, values, inside = self.counts.tolist()
        return (
            sums / rows if rows else None,
            inside / values if values else None,
            logs / rows if rows else None,
        )


def entered(tensor: torch.Tensor, axis: int | None) -> EnteredSums:
    """Counts for one loss input; ``axis`` is its class dimension, None when it has no rows.

    Exact zeros and ones are not counted as inside the unit interval: a sigmoid yields neither
    (before it saturates), while a rectifier, a mask or a zero-initialised layer does. One class
    alone makes no row to judge.
    """
    counts = torch.zeros(5, dtype=torch.int64, device=tensor.device)
    if axis is None:
        flat = tensor.reshape(-1)
        for start in range(0, flat.numel(), CHUNK):
            part = flat[start : start + CHUNK]
            counts += _counts(part, None)
        return EnteredSums(counts)
    classes = tensor.shape[axis]
    rows = tensor.movedim(axis, -1).reshape(-1, classes)
    tolerance = SUMS_TO_ONE if tensor.dtype.itemsize >= 4 else HALF_SUMS_TO_ONE
    step = max(1, CHUNK // max(1, classes))
    for start in range(0, rows.shape[0], step):
        part = rows[start : start + step]
        counts += _counts(part, tolerance if classes > 1 else None)
    return EnteredSums(counts)


def _counts(part: torch.Tensor, tolerance: float | None) -> torch.Tensor:
    wide = part.double()
    inside = ((wide > 0) & (wide < 1)).sum()
    values = torch.full_like(inside, wide.numel())
    zero = torch.zeros_like(inside)
    if tolerance is None:
        return torch.stack([zero, zero, zero, values, inside])
    within = ((wide >= 0) & (wide <= 1)).all(dim=-1)
    sums_to_one = within & ((wide.sum(dim=-1) - 1).abs() < tolerance)
    # All at most zero first: logsumexp alone is also zero for some rows with positive scores.
    log_rows = (wide <= 0).all(dim=-1) & (wide.logsumexp(dim=-1).abs() < tolerance)
    rows = torch.full_like(inside, wide.shape[0])
    return torch.stack([rows, sums_to_one.sum(), log_rows.sum(), values, inside])


def class_axis(function: str, dimensions: int) -> int | None:
    """The class dimension of a loss function's input, None where values stand alone."""
    if not dimensions:
        return None
    if function in ("cross_entropy", "nll_loss"):
        return 0 if dimensions == 1 else 1
    return dimensions - 1 if function == "kl_div" else None
