"""The statistics of `statistics.py` in plain NumPy: the definition the other backends must match."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from convlint.gpu_probes.backends import statistics as columns
from convlint.gpu_probes.backends.statistics import TensorStatistics, paired, plain

if TYPE_CHECKING:
    from collections.abc import Sequence


def multi_tensor_statistics(
    tensors: Sequence[torch.Tensor], others: Sequence[torch.Tensor] | None = None
) -> TensorStatistics:
    """Every statistic of every tensor, in float64 on the host.

    Raises ValueError when ``others`` does not pair with ``tensors``.
    """
    rows = [_row(x, y) for x, y in zip(tensors, paired(tensors, others), strict=True)]
    table = np.array(rows, dtype=np.float64).reshape(len(rows), columns.COLUMNS)
    return TensorStatistics(torch.from_numpy(table))


def _row(
    tensor: torch.Tensor, other: torch.Tensor | None
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    source = plain(tensor)
    x = source.double().cpu().numpy().ravel()
    smallest_normal = (
        torch.finfo(source.dtype).smallest_normal if source.dtype.is_floating_point else 0.0
    )
    finite = np.isfinite(x)
    magnitude = np.abs(x[finite])
    positive = magnitude[magnitude > 0]
    row = np.full(columns.COLUMNS, np.nan)
    row[columns.COUNT] = x.size
    row[columns.SUM] = x[finite].sum()
    row[columns.SUM_OF_SQUARES] = (magnitude**2).sum()
    row[columns.MAX_ABS] = magnitude.max(initial=0.0)
    row[columns.MIN_POSITIVE] = positive.min(initial=np.inf)
    row[columns.ZEROS] = (magnitude == 0).sum()
    row[columns.SUBNORMALS] = (positive < smallest_normal).sum()
    row[columns.NANS] = np.isnan(x).sum()
    row[columns.INFINITIES] = np.isinf(x).sum()
    if other is not None:
        y = plain(other).double().cpu().numpy().ravel()
        both = finite & np.isfinite(y)
        row[columns.DOT] = (x[both] * y[both]).sum()
        row[columns.OTHER_SUM_OF_SQUARES] = (y[both] ** 2).sum()
        row[columns.DIFFERENCE_SUM_OF_SQUARES] = ((x[both] - y[both]) ** 2).sum()
    return row
