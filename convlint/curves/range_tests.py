"""Learning-rate range tests among logs: a rate that rises exponentially to the end of the log.

What such a sweep says is defined in ``convlint.gpu_probes.horizon.swept_rates``, as for those a
probe runs.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from convlint.curves.facts import RangeTest
from convlint.curves.trend import noise_level, running_median
from convlint.gpu_probes.horizon import swept_rates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from convlint.curves.recorder import RecordedCurve
    from convlint.curves.trend import Series

DECADES = 2.0
"""Exponential warm-ups are shorter, and do not last to the end of the log."""

FEWEST_RATES = 15

EXPONENTIAL = 0.995
"""Share of the variance of ln η that a straight line must explain; a linear warm-up over two decades
leaves a quarter of it."""

PER_DECADE = 10
"""Losses of a longer sweep are thinned to so many, the density ``swept_rates`` smooths at."""


MEDIAN_OF = 5
FALL_IN_NOISE = 3.5
"""Noise deviations by which the least median of so many, among some sixty losses, lies below the
first only where they fall."""


def range_test(rate: RecordedCurve, losses: Sequence[RecordedCurve]) -> RangeTest | None:
    """The range test this log is; None when the rate takes another course.

    Of ``losses`` the longest is read, with the rate at the same lines of the log.
    """
    usable = np.isfinite(rate.values) & (rate.values > 0.0)
    rates, lines = rate.values[usable], rate.lines[usable]
    if not losses or rates.size < FEWEST_RATES or not usable.all() or not _exponential(rates):
        return None
    loss = max(losses, key=lambda series: len(series.blocks))
    tried = np.exp(np.interp(loss.lines, lines, np.log(rates)))
    values = np.where(np.isfinite(loss.values), loss.values, np.inf)
    decades = math.log10(float(rates[-1] / rates[0]))
    tried, values = _thinned(tried, values, round(PER_DECADE * decades))
    known = values[np.isfinite(values)]
    if known.size < FEWEST_RATES:
        return None
    first = float(np.median(known[:MEDIAN_OF]))
    noise = noise_level(known[: max(4, known.size // 3)])
    bound = swept_rates.bound_of(first, noise)
    swept, course = tried.tolist(), values.tolist()
    falls = first - float(running_median(known, MEDIAN_OF).min()) > FALL_IN_NOISE * noise
    lowest = swept_rates.lowest(swept, course) if falls else None
    leaves = swept_rates.leaves(swept, course, bound)
    # A sweep that still learns at its last rate does not say where learning ends.
    suggested = None
    if lowest is not None and leaves is not None:
        suggested = min(lowest, leaves) / swept_rates.BELOW
    return RangeTest(
        loss=loss.name,
        line=int(loss.lines[0]),
        first=float(rates[0]),
        last=float(rates[-1]),
        steepest=swept_rates.steepest(swept, swept_rates.smoothed(course)) if falls else None,
        lowest=lowest,
        leaves=leaves,
        suggested=suggested,
    )


def _exponential(rates: Series) -> bool:
    """Whether ln η is a straight line that rises by ``DECADES`` at least."""
    logs = np.log(rates)
    if float(logs[-1] - logs[0]) < DECADES * math.log(10.0) or (np.diff(logs) < 0.0).any():
        return False
    steps = np.arange(logs.size, dtype=np.float64)
    return bool(np.corrcoef(steps, logs)[0, 1] ** 2 >= EXPONENTIAL)


def _thinned(rates: Series, losses: Series, count: int) -> tuple[Series, Series]:
    """At most twice ``count`` medians of equal blocks, with the rate in the middle of each."""
    per = max(1, losses.size // count)
    whole = losses.size - losses.size % per
    blocks = losses[:whole].reshape(-1, per), rates[:whole].reshape(-1, per)
    return np.exp(np.log(blocks[1]).mean(axis=1)), np.median(blocks[0], axis=1)
