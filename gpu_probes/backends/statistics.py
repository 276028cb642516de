"""What a statistics backend computes: one row per tensor, one column per statistic.

All columns are float64. Sums and extremes run over the *finite* elements, NaN and infinities are
counted apart, so that a single NaN does not hide the scale of its tensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

COUNT: Final = 0
SUM: Final = 1
SUM_OF_SQUARES: Final = 2
MAX_ABS: Final = 3
MIN_POSITIVE: Final = 4
ZEROS: Final = 5
SUBNORMALS: Final = 6
NANS: Final = 7
INFINITIES: Final = 8
DOT: Final = 9
OTHER_SUM_OF_SQUARES: Final = 10
DIFFERENCE_SUM_OF_SQUARES: Final = 11
COLUMNS: Final = 12


@dataclass(frozen=True)
class TensorStatistics:
    """Statistics of T tensors, left on the device that computed them.

    ``table`` is float64 of shape (T, 12); its columns, by the constants of this module:
    number of elements, sum, sum of squares, largest magnitude, smallest magnitude above zero
    (infinity when there is none), exact zeros, subnormals of the tensor's own dtype, NaN,
    infinities; and with a partner tensor y for each x: sum x y, sum y^2, sum (x - y)^2 over the
    elements where both are finite. Columns that were not asked for hold NaN.
    """

    table: torch.Tensor

    def column(self, index: int) -> torch.Tensor:
        """One statistic of every tensor, shape (T,), on the device."""
        return self.table[:, index]

    def norms(self) -> torch.Tensor:
        """Euclidean norm of every tensor, shape (T,)."""
        return self.table[:, SUM_OF_SQUARES].sqrt()

    def rms(self) -> torch.Tensor:
        """Root mean square over the finite elements, shape (T,); NaN for a tensor without any.

        Needs the full statistics, because the finite elements must have been counted.
        """
        finite = self.table[:, COUNT] - self.table[:, NANS] - self.table[:, INFINITIES]
        return (self.table[:, SUM_OF_SQUARES] / finite).sqrt()

    def on_host(self) -> list[list[float]]:
        """The whole table in one transfer."""
        rows: list[list[float]] = self.table.tolist()
        return rows


def plain(tensor: torch.Tensor) -> torch.Tensor:
    """The values of ``tensor`` as a detached, dense, real, local tensor.

    Sparse gradients give their stored values (coalesced), distributed tensors their local shard,
    complex tensors a real view with a last dimension of two.
    """
    values = tensor.detach()
    to_local = getattr(values, "to_local", None)
    if to_local is not None:
        values = to_local()
    if values.layout in (torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc):
        values = values.values()
    elif values.is_sparse:
        values = values.coalesce().values()
    if values.is_complex():
        values = torch.view_as_real(values.resolve_conj())
    return values


def paired(
    tensors: Sequence[torch.Tensor], others: Sequence[torch.Tensor] | None
) -> Sequence[torch.Tensor | None]:
    """The partners of ``tensors``, checked: raises ValueError on a count or shape mismatch."""
    if others is None:
        return [None] * len(tensors)
    if len(others) != len(tensors):
        raise ValueError(f"{len(tensors)} tensors but {len(others)} partners")
    for index, (left, right) in enumerate(zip(tensors, others, strict=True)):
        if left.shape != right.shape:
            raise ValueError(
                f"partner {index}: shape {tuple(right.shape)}, not {tuple(left.shape)}"
            )
    return others
