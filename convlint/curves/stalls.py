"""Whether a loss that hardly moves stands still, moves too slowly, or cannot be told."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from convlint.curves.trend import trend

if TYPE_CHECKING:
    from convlint.curves.levels import Levels
    from convlint.curves.trend import Series

FEWEST_STEPS_FOR_STALLED = 20
"""A start of fewer steps is often a warm-up or a plateau that ends by itself."""

SIGNIFICANT = 0.01
"""One-sided p-value of the Mann-Kendall test for a fall."""

FLAT_SHARE = 0.02
"""A descent that is certainly (95 %) smaller than this share of the excess per hundred steps is
none; plain gradient descent at a cautious rate makes 5 to 10 %."""

FLAT_STEPS = 100

SLOW_FACTOR = 30.0
"""Halving the excess takes more than this many times the steps seen: slow, when the planned
number of steps is unknown. Losses accelerate after the first steps, hence the wide margin."""

ONE_SIDED_95 = 1.645

NEAR_BASELINE = 0.03
"""A plateau within this share of the constant predictor's loss has learned nothing else."""


def stuck_at_baseline(
    values: Series, levels: Levels, baseline: float | None, lower_bound: float | None
) -> str:
    """Why the loss is stuck at the constant predictor after a descent from above; or empty."""
    if baseline is None or values.size < 2 * FEWEST_STEPS_FOR_STALLED:
        return ""
    half = values[values.size // 2 :]
    line = trend(half)
    optimistic = (-line.slope + ONE_SIDED_95 * line.error) * half.size
    excess = max(baseline - (lower_bound or 0.0), 1e-300)
    at_baseline = abs(float(np.median(half)) - baseline) < NEAR_BASELINE * abs(baseline)
    if at_baseline and optimistic < FLAT_SHARE * excess and levels.first > baseline:
        return f"the loss stays at the constant predictor's {baseline:.4g}"
    return ""


def forecast_misses(levels: Levels, progress: float, steps: int, planned_steps: int | None) -> str:
    """Why a descending loss is too slow; or empty.

    At the pace seen the excess halves in steps · ln 2 / −ln(1 − progress/excess).
    """
    share = min(progress / levels.excess, 1.0 - 1e-9)
    halving = steps * math.log(2.0) / -math.log1p(-share)
    horizon = planned_steps if planned_steps is not None else SLOW_FACTOR * steps
    if halving <= max(horizon, steps):
        return ""
    return f"at this pace halving the loss takes {halving:.3g} steps"


def without_progress(
    values: Series,
    levels: Levels,
    progress: float,
    baseline: float | None,
    planned_steps: int | None,
    per: int,
) -> tuple[str, str]:
    """Kind and note of a series without significant progress."""
    line = trend(values)
    by_trend = -line.slope * values.size
    optimistic = max(
        by_trend + ONE_SIDED_95 * line.error * values.size,
        progress + ONE_SIDED_95 * levels.error,
    )
    steps = values.size * per
    falling = line.p_falling < SIGNIFICANT and by_trend > 0.0
    flat = optimistic < FLAT_SHARE * min(1.0, steps / FLAT_STEPS) * levels.excess
    if flat and not falling and values.size >= FEWEST_STEPS_FOR_STALLED:
        where = ""
        if baseline is not None and abs(levels.last - baseline) < NEAR_BASELINE * abs(baseline):
            where = ", at the constant predictor"
        return "stalled", f"the loss stays at {levels.last:.4g}{where}"
    if falling or values.size >= FEWEST_STEPS_FOR_STALLED:
        late = forecast_misses(levels, max(optimistic, 1e-300), steps, planned_steps)
        if late:
            return "slow", late.replace("takes", "takes at least")
    if falling and by_trend > FLAT_SHARE * levels.excess:
        return "converging", "the loss comes down, though by little"
    return "undetermined", "the noise from step to step hides whether the loss comes down"
