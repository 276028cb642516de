"""What goes wrong in a loss series: it is thrown off, rises, or swings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from convlint.curves.trend import noise_level, oscillation, spread, trend

if TYPE_CHECKING:
    from convlint.curves.levels import Levels
    from convlint.curves.trend import Series

FEWEST_STEPS_OF_RISE = 10
"""A tail of fewer steps is too short to be called rising."""

FEWEST_STEPS_OF_SWINGS = 20
"""Fewer steps may jump by chance."""

SIGNIFICANT = 0.01
"""One-sided p-value of the Mann-Kendall tests."""

RISE_IN_NOISE = 4.0
RISE_SHARE = 0.02
"""A rise counts from this many noise deviations and this share of the loss."""

LATE_RISE_SHARE = 0.5
"""A loss that gave back half of what it had gained, and keeps rising, diverges."""

THROWN = 2.0
"""Three of four losses above this many times the first: steps too long threw the loss off.
Batch noise and a healthy warm-up stay far below."""

HIGH_GROUND = 1.5
"""Nearly all late values above the first three, by this factor in the median: thrown off."""

FEWEST_SWINGS = 5
"""Of fewer, each may be a stage of training that raises the loss on purpose: a curriculum, a restart
of the learning rate that is not logged."""

PERIODIC_P = 1e-3
"""Fisher's p-value below which a periodic component is real."""

SWING_OF_EXCESS = 0.05
SWING_OF_PROGRESS = 0.25
"""An oscillation is worth the name from these shares of the loss and of the progress made.
Unshuffled data repeat from epoch to epoch too, at a fraction of the progress."""

COME_DOWN = 0.9
"""A loss that lost nine tenths of its height comes down, however it swings on the way."""

ERRATIC_SHARE = 0.5
"""Spread of the later half over the loss, without progress, that no batch noise explains."""


def thrown_to(values: Series, lower_bound: float | None) -> float | None:
    """The height the loss was thrown to from its start; None when it was not."""
    reference = lower_bound if lower_bound is not None else 0.0
    start = float(values[0]) - reference
    if start <= 0.0:
        return None
    # Of four, since every second value is high where a loss swings with period two.
    sustained = np.median(np.lib.stride_tricks.sliding_window_view(values, 4), axis=1)
    peak = float(sustained.max())
    lifted = peak - float(values[0]) > RISE_IN_NOISE * noise_level(values)
    return peak if lifted and peak - reference > THROWN * start else None


def rising(values: Series, levels: Levels, lower_bound: float | None) -> str:
    """Why the loss diverges: risen above its start, thrown off, or rising back; or empty."""
    n = values.size
    whole = trend(values)
    rise = levels.last - levels.first
    noise = noise_level(values)
    if rise > max(RISE_IN_NOISE * noise, RISE_SHARE * abs(levels.first)) and (
        whole.p_rising < SIGNIFICANT
    ):
        return f"the loss rose from {levels.first:.4g} to {levels.last:.4g}"
    reference = lower_bound if lower_bound is not None else 0.0
    start = float(values[:3].max())
    late = values[-(n // 3) :]
    if (
        float(np.percentile(late, 10.0)) > start
        and start > reference
        and (float(np.median(late)) - reference > HIGH_GROUND * (start - reference))
    ):
        return f"the loss was thrown from {start:.4g} to {float(np.median(late)):.4g}"
    back = levels.last - levels.lowest
    tail = values[levels.lowest_at :]
    gained = levels.first - levels.lowest
    if (
        tail.size >= FEWEST_STEPS_OF_RISE
        and back > max(LATE_RISE_SHARE * gained, 2.0 * RISE_IN_NOISE * noise)
        and back > RISE_SHARE * levels.excess
        and trend(tail).p_rising < SIGNIFICANT
    ):
        return f"the loss fell to {levels.lowest:.4g} and rose again to {levels.last:.4g}"
    return ""


def swinging(values: Series, levels: Levels, progress: float, significant: float) -> str:
    """Why the loss oscillates: a lasting periodic swing, or wild jumps without progress."""
    if progress > COME_DOWN * levels.excess:
        return ""
    cycle = oscillation(values)
    if (
        cycle is not None
        and cycle.p_value < PERIODIC_P
        and cycle.sustained
        and cycle.period < values.size / FEWEST_SWINGS
        and cycle.amplitude > SWING_OF_EXCESS * levels.excess
        and cycle.amplitude > SWING_OF_PROGRESS * progress
    ):
        return (
            f"the loss swings by ±{cycle.amplitude:.3g} with a period of {cycle.period:.3g} steps"
        )
    half = values[values.size // 2 :]
    if (
        progress <= max(significant, 0.1 * levels.excess)
        and values.size >= FEWEST_STEPS_OF_SWINGS
        and spread(half) > ERRATIC_SHARE * levels.excess
    ):
        return f"the loss jumps by ±{spread(half):.3g} from step to step without coming down"
    return ""
