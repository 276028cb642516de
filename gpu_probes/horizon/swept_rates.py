"""What a sweep of the learning rate says: where the loss falls fastest, is lowest and leaves.

One definition for the sweeps that are run on recorded steps and for those found in a log. Plain
numbers: neither torch nor NumPy is needed.
"""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SMOOTHING = 0.9
"""Weight of the past in the mean of a sweep. Larger ones lag by more than the few dozen steps a
sweep has."""

DIVERGED_SIGMAS = 4.0
"""Standard deviations between batches at the start by which a loss must rise to have left."""
DIVERGED_SHARE = 0.25
"""And by this share of the first loss, where one batch is like the other."""
HALF_WINDOW = 2
"""Rates to either side of the one at which a slope is fitted or a median taken: half a decade."""

BELOW = 3.0
"""A rate is suggested this factor below where a sweep learns no more."""


def bound_of(first: float, spread: float) -> float:
    """The loss above which a sweep has left: ``first`` is the loss it starts from, ``spread`` the
    standard deviation between batches there."""
    return first + max(DIVERGED_SIGMAS * spread, DIVERGED_SHARE * abs(first))


def smoothed(losses: Sequence[float]) -> list[float]:
    """Exponential mean, corrected for its start; what is not finite stays so."""
    mean, smooth = 0.0, []
    for number, loss in enumerate(losses, 1):
        mean = SMOOTHING * mean + (1.0 - SMOOTHING) * loss
        smooth.append(mean / (1.0 - SMOOTHING**number))
    return smooth


def slopes(smooth: Sequence[float]) -> list[float]:
    """Change from one rate to the next by Savitzky and Golay's filter (1964), inside its windows.

    The derivative of the second-degree polynomial through ``HALF_WINDOW`` values to either side of
    each, which is Σ j·y_j / Σ j²; entry k belongs to value k + ``HALF_WINDOW``.
    """
    offsets = range(-HALF_WINDOW, HALF_WINDOW + 1)
    squares = sum(j * j for j in offsets)
    return [
        sum(j * smooth[k + j] for j in offsets) / squares
        for k in range(HALF_WINDOW, len(smooth) - HALF_WINDOW)
    ]


def steepest(tried: Sequence[float], smooth: Sequence[float]) -> float | None:
    """The rate at which the smoothed loss falls fastest per factor of the rate."""
    found = [
        (slope, tried[k]) for k, slope in enumerate(slopes(smooth), HALF_WINDOW) if slope < 0.0
    ]
    return min(found)[1] if found else None


def lowest(tried: Sequence[float], losses: Sequence[float]) -> float | None:
    """The rate at which the sweep is lowest; None when it never falls.

    By the median of the losses around each: the exponential mean lags by ten rates, a whole decade,
    and a third of where it is lowest lies above every stable rate.
    """
    around = [
        median(
            loss if math.isfinite(loss) else math.inf
            for loss in losses[max(0, k - HALF_WINDOW) : k + HALF_WINDOW + 1]
        )
        for k in range(len(losses))
    ]
    if not around or min(around) >= around[0]:
        return None
    return tried[around.index(min(around))]


def leaves(tried: Sequence[float], losses: Sequence[float], bound: float) -> float | None:
    """The rate at which the rise begins that carries the loss over ``bound`` for good.

    A loss that has become small first has to grow back, so the rate at which it crosses the bound
    comes late.
    """
    left = len(losses)
    while left and not losses[left - 1] <= bound:
        left -= 1
    if left == len(losses):
        return None
    begin = left
    while begin and losses[begin - 1] < losses[begin]:
        begin -= 1
    return tried[begin]
