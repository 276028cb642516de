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

CPU_CHUNK: Final = 1 << 16
"""Elements widened to float64 at a time on the CPU: 512 KiB, so the passes stay in its cache."""

DEVICE_CHUNK: Final = 1 << 24
"""The same on other devices, where every pass is a launch: 128 MiB of scratch."""

ROW: Final = 4096
"""Elements that one float32 norm may add up."""

PART_ROWS: Final = 64
"""Rows whose differences are held at a time: 1 MiB, which stays in the cache until it is read."""

SHORT: Final = 2 * ROW
"""Tensors below this are handled together, where the cost is in the calls."""

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
    they make the sums of their tensor NaN or infinite. This is what every training step can
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
        table[:, columns.DIFFERENCE_SUM_OF_SQUARES] = _squared_differences(values, partners)
    return TensorStatistics(table)


@torch.no_grad()
def sums_of_squares(values: Sequence[torch.Tensor]) -> torch.Tensor:
    """Sum of squares of dense tensors of one device: float64, shape (T,), on that device.

    Right to 1e-7 whatever the size and the scale; NaN or infinite where a tensor is.
    """
    wide = [_floating(x) for x in values]
    if wide[0].device.type != "cpu":
        return _squared_norms(wide)
    squares = torch.empty(len(wide), dtype=torch.float64)
    short = [index for index, x in enumerate(wide) if x.numel() < SHORT]
    if short:
        squares[torch.tensor(short)] = _squared_norms([wide[index] for index in short])
    for index, x in enumerate(wide):
        if x.numel() >= SHORT:
            squares[index] = _sum_of_squares_by_rows(x)
    return squares


@torch.no_grad()
def squared_differences(
    values: Sequence[torch.Tensor], others: Sequence[torch.Tensor]
) -> torch.Tensor:
    """Sums of squares of the differences of pairs on one device: float64, shape (T,), there."""
    return _squared_differences([plain(x) for x in values], [plain(y) for y in others])


def _squared_differences(
    values: Sequence[torch.Tensor], partners: Sequence[torch.Tensor]
) -> torch.Tensor:
    """Sums of squares of x - y, the short ones together, the long ones in memory used again."""
    left, right = [_floating(x) for x in values], [_floating(y) for y in partners]
    squares = torch.empty(len(left), dtype=torch.float64, device=left[0].device)
    short = [index for index, x in enumerate(left) if x.numel() < SHORT]
    if short:
        differences = torch._foreach_sub(
            [left[index] for index in short], [right[index] for index in short]
        )
        squares[torch.tensor(short, device=squares.device)] = sums_of_squares(differences)
    for index, (x, y) in enumerate(zip(left, right, strict=True)):
        if x.numel() < SHORT:
            continue
        if x.device.type == "cpu" and x.is_contiguous() and y.is_contiguous():
            squares[index] = _squared_difference_by_parts(x, y)
        else:
            squares[index] = sums_of_squares([x - y])[0]
    return squares


def _squared_difference_by_parts(x: torch.Tensor, y: torch.Tensor) -> float:
    """Without writing the difference to memory, which is what large tensors cost."""
    flat, partner = x.reshape(-1), y.reshape(-1)
    whole = flat.numel() // ROW * ROW
    left, right = flat[:whole].view(-1, ROW), partner[:whole].view(-1, ROW)
    dtype = torch.promote_types(x.dtype, y.dtype)
    norms = torch.empty(len(left), dtype=dtype)
    scratch = torch.empty(min(PART_ROWS, len(left)), ROW, dtype=dtype)
    for start in range(0, len(left), PART_ROWS):
        part = left[start : start + PART_ROWS]
        difference = torch.sub(part, right[start : start + PART_ROWS], out=scratch[: len(part)])
        torch.linalg.vector_norm(difference, dim=1, out=norms[start : start + len(part)])
    total = float(norms.double().square().sum())
    total += float(_squared_norms([flat[whole:] - partner[whole:]])[0])
    if SAFE_SQUARES[0] < total / flat.numel() < SAFE_SQUARES[1]:
        return total
    return float(_squared_norms([flat - partner])[0])


def _squared_norms(values: Sequence[torch.Tensor]) -> torch.Tensor:
    norms = torch._foreach_norm(list(values), 2, torch.float64)
    return torch.stack(list(norms)).square()


def _sum_of_squares_by_rows(values: torch.Tensor) -> float:
    """In the tensor's own precision by rows, as fast as a plain norm, unless that loses the value.

    A float32 norm over millions of elements is off by 1e-4, over a row of 4096 by 1e-7; squares
    beyond float32 (a gradient of 1e-24, or of 1e20) are repeated in float64.
    """
    flat = values.reshape(-1)
    whole = flat.numel() // ROW * ROW
    rows: torch.Tensor = torch.linalg.vector_norm(flat[:whole].view(-1, ROW), dim=1)
    total = float(rows.double().square().sum() + _squared_norms([flat[whole:]])[0])
    if SAFE_SQUARES[0] < total / flat.numel() < SAFE_SQUARES[1]:
        return total
    return float(_squared_norms([flat])[0])


def _floating(values: torch.Tensor) -> torch.Tensor:
    """Integers have no norm in torch and float16 differences round, so both widen.

    Complex numbers become pairs: the squares of both parts add up to that of the size.
    """
    if values.is_complex():
        values = torch.view_as_real(values.resolve_conj())
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
    step = CPU_CHUNK if values.device.type == "cpu" else DEVICE_CHUNK
    for start in range(0, flat.numel(), step):
        part = flat[start : start + step]
        _add_chunk(row, part.double(), smallest_normal)
        if flat_partner is not None:
            _add_pair(row, part.double(), flat_partner[start : start + step].double())
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
