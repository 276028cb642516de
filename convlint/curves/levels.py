"""A loss series in a few robust numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from convlint.curves.trend import running_median, spread

if TYPE_CHECKING:
    from convlint.curves.trend import Series


@dataclass(frozen=True)
class Levels:
    """A series in numbers: medians of its first and last tenth (at least three values) with the
    standard error of their difference, lowest median of any tenth, and the ``excess`` over the
    lower bound that remains to be descended."""

    first: float
    last: float
    lowest: float
    lowest_at: int
    error: float
    excess: float
    spread: float


def levels_of(values: Series, lower_bound: float | None) -> Levels:
    """The levels of ``values``; the excess is over ``lower_bound``, or over the smaller of zero and
    the least value where there is none."""
    n = values.size
    width = max(3, n // 10)
    medians = np.median(np.lib.stride_tricks.sliding_window_view(values, width), axis=1)
    residual = values - running_median(values, 2 * width + 1)
    deviation = spread(residual)
    first, last = float(medians[0]), float(medians[-1])
    reference = lower_bound if lower_bound is not None else min(0.0, float(values.min()))
    return Levels(
        first=first,
        last=last,
        lowest=float(medians.min()),
        lowest_at=int(medians.argmin()),
        # The median of n normal values has π/2 times the variance of their mean.
        error=deviation * math.sqrt(0.5 * math.pi * 2.0 / width),
        excess=max(first - reference, abs(first) * 1e-12, 1e-300),
        spread=deviation,
    )
