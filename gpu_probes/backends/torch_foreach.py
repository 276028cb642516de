"""The statistics of `statistics.py` in torch operations: one code for the CPU and for CUDA.

Nothing here waits for the device: the table stays where the tensors are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from convlint.gpu_probes.backends import statistics as columns
from convlint.gpu_probes.backends.statistics import TensorStatistics, paired, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

CHUNK: Final = 1 << 20
"""Elements widened to float64 at a time: 8 MiB of scratch whatever the size of the tensor."""

ROW: Final = 4096
"""Elements that one float32 norm may add up."""

SAFE_SQUARES: Final = (1e-28, 1e28)
"""Mean squares whose elements keep their digits when squared in float32 (1e-38 to 1e38)."""


@torch.no_grad()
def multi_tensor_statistics(
    tensors: Sequence[torch.Tensor],
    others: Sequence[torch.Tensor] | None = None,
    *,
    norms_only: bool = False,
) -> TensorStatistics:
    """Statistics of tensors that live on one device.

    With ``norms_only`` the count, the sum of squares and, with partners, the partner's sum of
    squares and that of the difference are computed, and non-finite elements are *not* set apart:
    they make the norm of their tensor NaN or infinite. This is what every training step can
    afford. Raises ValueError when ``others`` does not pair with ``tensors``.
    """
    partners = paired(tensors, others)
    if not tensors:
        return TensorStatistics(torch.empty((0, columns.COLUMNS), dtype=torch.float64))
    if norms_only:
        return _norms([plain(x) for x in tensors], None if others is None else others)
    rows = [
        _row(plain(x), None if y is None else plain(y))
        for x, y in zip(tensors, partners, strict=True)
    ]
    return TensorStatistics(torch.stack(rows))


def _norms(
    values: Sequence[torch.Tensor], others: Sequence[torch.Tensor] | None
) -> TensorStatistics:
    device = values[0].device
    table = torch.full(
        (len(values), columns.COLUMNS), torch.nan, dtype=torch.float64, device=device
    )
    table[:, columns.COUNT] = torch.tensor(
        [x.numel() for x in values], dtype=torch.float64, device=device
    )
    table[:, columns.SUM_OF_SQUARES] = sums_of_squares(values)
    if others is not None:
        partners = [plain(y) for y in others]
        table[:, columns.OTHER_SUM_OF_SQUARES] = sums_of_squares(partners)
        # One difference at a time: its memory is reused for the next.
        differences = [
            sums_of_squares([_floating(x) - _floating(y)])
            for x, y in zip(values, partners, strict=True)
        ]
        table[:, columns.DIFFERENCE_SUM_OF_SQUARES] = torch.cat(differences)
    return TensorStatistics(table)


@torch.no_grad()
def sums_of_squares(values: Sequence[torch.Tensor]) -> torch.Tensor:
    """Sum of squares of dense tensors of one device: float64, shape (T,), on that device.

    Right to 1e-7 whatever the size and the scale; NaN or infinite where a tensor is.
    """
    if values[0].device.type == "cpu":
        return torch.tensor([_sum_of_squares_on_cpu(x) for x in values], dtype=torch.float64)
    norms = torch._foreach_norm([_floating(x) for x in values], 2, torch.float64)
    return torch.stack(list(norms)).square()


def _sum_of_squares_on_cpu(values: torch.Tensor) -> float:
    """In the tensor's own precision by rows, as fast as a plain norm, unless that loses the value.

    A float32 norm over millions of elements is off by 1e-4, over a row of 4096 by 1e-7; squares
    beyond float32 (a gradient of 1e-24, or of 1e20) are repeated in float64.
    """
    wide = _floating(values)
    if not wide.is_contiguous() or wide.numel() < 2 * ROW:
        return _in_float64(wide)
    flat = wide.view(-1)
    whole = flat.numel() // ROW * ROW
    rows: torch.Tensor = torch.linalg.vector_norm(flat[:whole].view(-1, ROW), dim=1)
    total = float(rows.double().square().sum()) + _in_float64(flat[whole:])
    if SAFE_SQUARES[0] < total / flat.numel() < SAFE_SQUARES[1]:
        return total
    return _in_float64(flat)


def _in_float64(values: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(values, dtype=torch.float64)) ** 2


def _floating(values: torch.Tensor) -> torch.Tensor:
    """Integers have no norm in torch and float16 differences round, so both widen."""
    return values if values.dtype in (torch.float32, torch.float64) else values.float()


def _row(values: torch.Tensor, partner: torch.Tensor | None) -> torch.Tensor:
    smallest_normal = (
        torch.finfo(values.dtype).smallest_normal if values.dtype.is_floating_point else 0.0
    )
    row = torch.zeros(columns.COLUMNS, dtype=torch.float64, device=values.device)
    row[columns.COUNT] = values.numel()
    row[columns.MIN_POSITIVE] = torch.inf
    if partner is None:
        row[columns.DOT :] = torch.nan
    flat = values.reshape(-1)
    flat_partner = None if partner is None else partner.reshape(-1)
    for start in range(0, flat.numel(), CHUNK):
        part = flat[start : start + CHUNK]
        _add_chunk(row, part.double(), smallest_normal)
        if flat_partner is not None:
            _add_pair(row, part.double(), flat_partner[start : start + CHUNK].double())
    return row


def _add_chunk(row: torch.Tensor, x: torch.Tensor, smallest_normal: float) -> None:
    not_a_number = x.isnan()
    infinite = x.isinf()
    x = x.masked_fill(not_a_number | infinite, 0.0)
    magnitude = x.abs()
    zero = magnitude == 0
    non_finite = not_a_number.sum() + infinite.sum()
    row[columns.SUM] += x.sum()
    row[columns.SUM_OF_SQUARES] += magnitude.square().sum()
    row[columns.MAX_ABS] = torch.maximum(row[columns.MAX_ABS], magnitude.max())
    row[columns.ZEROS] += zero.sum() - non_finite
    row[columns.SUBNORMALS] += ((magnitude < smallest_normal) & ~zero).sum()
    row[columns.NANS] += not_a_number.sum()
    row[columns.INFINITIES] += infinite.sum()
    smallest = magnitude.masked_fill(zero, torch.inf).min()
    row[columns.MIN_POSITIVE] = torch.minimum(row[columns.MIN_POSITIVE], smallest)


def _add_pair(row: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> None:
    either = ~(x.isfinite() & y.isfinite())
    x = x.masked_fill(either, 0.0)
    y = y.masked_fill(either, 0.0)
    row[columns.DOT] += torch.dot(x, y)
    row[columns.OTHER_SUM_OF_SQUARES] += torch.dot(y, y)
    row[columns.DIFFERENCE_SUM_OF_SQUARES] += (x - y).square().sum()
