"""What a short loss series says: diverging, oscillating, stalled, slow, converging, or nothing.

The order of the questions matters. Non-finite values and a lasting rise are told first; then
whether the loss came down by more than its noise can explain; only a loss that did not may be
called oscillating or stalled, and only when the noise is small enough to exclude a useful descent.
A loss that came down converges, at a rate that is fitted where the evidence carries it. Whatever
the noise leaves open is ``undetermined``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from convlint.curves.rates import Rate, convergence_rate
from convlint.curves.trend import noise_level, oscillation, running_median, spread, trend
from convlint.gpu_probes.observations import Convergence, Measurement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from convlint.curves.trend import Series

SQUARABLE = (1e-100, 1e100)
"""Losses outside this range are divided by their largest first: sums of their squares would
underflow or overflow float64."""

FEWEST_STEPS = 10
"""Medians of the first and last tenth need more than one value to mean anything."""

FEWEST_STEPS_FOR_STALLED = 20
"""A start of fewer steps is often a warm-up or a plateau that ends by itself."""

LONGEST_SERIES = 400
"""Longer series are thinned to medians of blocks: pairwise slopes cost the square of the length."""

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

RECOVERED = 0.75
"""A loss that was thrown off has recovered below this share of its start; above, the run has only
come back to a model that predicts a constant, its features lost."""

HIGH_GROUND = 1.5
"""Nearly all late values above the first three, by this factor in the median: thrown off."""

PERIODIC_P = 1e-3
"""Fisher's p-value below which a periodic component is real."""

SWING_OF_EXCESS = 0.05
SWING_OF_PROGRESS = 0.25
"""An oscillation is worth the name from these shares of the loss and of the progress made.
Unshuffled data repeat from epoch to epoch too, at a fraction of the progress."""

ERRATIC_SHARE = 0.5
"""Spread of the later half over the loss, without progress, that no batch noise explains."""

PROGRESS_IN_ERRORS = 4.0
PROGRESS_SHARE = 0.02
"""Progress counts when it exceeds this many standard errors and this share of the excess."""

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

TRAINED_SHARE = 0.8
"""A series that starts below this share of the baseline belongs to a trained model, for which a
small further descent is normal."""


@dataclass(frozen=True)
class _Levels:
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


def convergence(
    values: Sequence[float | None],
    *,
    lower_bound: float | None = 0.0,
    baseline: float | None = None,
    planned_steps: int | None = None,
) -> Convergence:
    """Classify a loss series, one value per step.

    ``None`` and non-finite values stand for NaN or infinity. ``lower_bound`` is a value the loss
    cannot undercut (None when there is none), ``baseline`` the loss of the best constant predictor
    on the same scale, ``planned_steps`` the length of the full run.

    ``kind`` is ``diverging``, ``oscillating``, ``stalled``, ``slow``, ``converging`` or
    ``undetermined``; ``rate_class`` is ``linear`` (``rate`` is the factor per step), ``sublinear``
    (the exponent), ``superlinear`` or ``quadratic`` (the order) or ``undetermined`` for a
    converging series, empty for others; ``limit`` the fitted final loss.
    """
    finite = np.array([v for v in values if v is not None and math.isfinite(v)], dtype=np.float64)
    scale = float(np.abs(finite).max()) if finite.size else 0.0
    if scale and not SQUARABLE[0] < scale < SQUARABLE[1]:
        shrunk = [None if v is None else v / scale for v in values]
        bound = None if lower_bound is None else lower_bound / scale
        level = None if baseline is None else baseline / scale
        result = convergence(shrunk, lower_bound=bound, baseline=level, planned_steps=planned_steps)
        return _rescaled(result, scale)
    first = float(finite[0]) if finite.size else None
    last = float(finite[-1]) if finite.size else None

    def conclusion(kind: str, note: str, rate: Rate | None = None, per: int = 1) -> Convergence:
        return Convergence(
            kind=kind,
            rate_class=rate.kind if rate else "",
            rate=_measured_rate(rate, per),
            noise=noise_level(finite) if finite.size >= 4 else None,
            first=first,
            last=last,
            limit=_measured_limit(rate),
            steps=len(values),
            note=note,
        )

    non_finite = _non_finite(values)
    if non_finite:
        return conclusion("diverging", non_finite)
    if finite.size < FEWEST_STEPS:
        return conclusion("undetermined", f"{finite.size} steps are too few to judge")
    series, per = _thinned(finite)
    levels = _levels(series, lower_bound)
    peak = _thrown_to(series, lower_bound)
    if peak is not None:
        start = float(series[0])
        if levels.last - (lower_bound or 0.0) > RECOVERED * (start - (lower_bound or 0.0)):
            return conclusion(
                "diverging",
                f"the loss was thrown from {start:.4g} up to {peak:.4g} and ends at "
                f"{levels.last:.4g}",
            )
        after = series[int(series.argmax()) :]
        rate = Rate("undetermined")
        if after.size >= FEWEST_STEPS:
            rate = convergence_rate(after, noise_level(after), lower_bound=lower_bound)
        return conclusion("converging", f"the loss first jumped up to {peak:.4g}", rate, per)
    rising = _rising(series, levels, lower_bound)
    if rising:
        return conclusion("diverging", rising)
    progress = levels.first - levels.last
    significant = max(PROGRESS_IN_ERRORS * levels.error, PROGRESS_SHARE * levels.excess)
    swinging = _swinging(series, levels, progress, significant)
    if swinging:
        return conclusion("oscillating", swinging)
    stuck = _stuck_at_baseline(series, levels, baseline, lower_bound)
    if stuck:
        return conclusion("stalled", stuck)
    rate = convergence_rate(series, noise_level(series), lower_bound=lower_bound)
    if progress > significant:
        late = _forecast_misses(levels, progress, finite.size, planned_steps)
        if late:
            return conclusion("slow", late, rate, per)
        return conclusion("converging", "", rate, per)
    if rate.kind in ("linear", "sublinear", "superlinear", "quadratic") and progress > (
        PROGRESS_SHARE * levels.excess
    ):
        return conclusion("converging", "", rate, per)
    if baseline is not None and levels.first < TRAINED_SHARE * baseline:
        return conclusion(
            "undetermined", "the loss starts well below the constant predictor and hardly moves"
        )
    return conclusion(*_without_progress(series, levels, progress, baseline, planned_steps, per))


def _non_finite(values: Sequence[float | None]) -> str:
    """Why the non-finite values mean divergence; empty when they do not.

    A single lost value amid finite ones is a skipped step (loss scaling does that on purpose).
    """
    lost = [i for i, v in enumerate(values) if v is None or not math.isfinite(v)]
    if not lost or not values:
        return ""
    if lost[-1] == len(values) - 1:
        start = len(values) - 1
        while start and (start - 1) in set(lost):
            start -= 1
        return f"the loss is not finite from step {start + 1} on"
    if len(lost) > len(values) // 4:
        return f"{len(lost)} of {len(values)} losses are not finite"
    return ""


def _rescaled(result: Convergence, scale: float) -> Convergence:
    """The classification of a series that had been divided by ``scale``."""

    def times(value: float | None) -> float | None:
        product = None if value is None else value * scale
        return product if product is not None and math.isfinite(product) else None

    limit = result.limit and replace(result.limit, value=times(result.limit.value), ci=None)
    return replace(
        result,
        noise=times(result.noise),
        first=times(result.first),
        last=times(result.last),
        limit=limit,
    )


def _thinned(values: Series) -> tuple[Series, int]:
    """At most LONGEST_SERIES medians of equal blocks, and the block's length."""
    per = -(-values.size // LONGEST_SERIES)
    if per == 1:
        return values, 1
    whole = values[: values.size - values.size % per].reshape(-1, per)
    return np.median(whole, axis=1), per


def _levels(values: Series, lower_bound: float | None) -> _Levels:
    n = values.size
    width = max(3, n // 10)
    medians = np.median(np.lib.stride_tricks.sliding_window_view(values, width), axis=1)
    residual = values - running_median(values, 2 * width + 1)
    deviation = spread(residual)
    first, last = float(medians[0]), float(medians[-1])
    reference = lower_bound if lower_bound is not None else min(0.0, float(values.min()))
    return _Levels(
        first=first,
        last=last,
        lowest=float(medians.min()),
        lowest_at=int(medians.argmin()),
        # The median of n normal values has π/2 times the variance of their mean.
        error=deviation * math.sqrt(0.5 * math.pi * 2.0 / width),
        excess=max(first - reference, abs(first) * 1e-12, 1e-300),
        spread=deviation,
    )


def _thrown_to(values: Series, lower_bound: float | None) -> float | None:
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


def _rising(values: Series, levels: _Levels, lower_bound: float | None) -> str:
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
        tail.size >= FEWEST_STEPS
        and back > max(LATE_RISE_SHARE * gained, 2.0 * RISE_IN_NOISE * noise)
        and back > RISE_SHARE * levels.excess
        and trend(tail).p_rising < SIGNIFICANT
    ):
        return f"the loss fell to {levels.lowest:.4g} and rose again to {levels.last:.4g}"
    return ""


def _swinging(values: Series, levels: _Levels, progress: float, significant: float) -> str:
    """Why the loss oscillates: a lasting periodic swing, or wild jumps without progress."""
    cycle = oscillation(values)
    if (
        cycle is not None
        and cycle.p_value < PERIODIC_P
        and cycle.sustained
        and cycle.amplitude > SWING_OF_EXCESS * levels.excess
        and cycle.amplitude > SWING_OF_PROGRESS * progress
    ):
        return (
            f"the loss swings by ±{cycle.amplitude:.3g} with a period of {cycle.period:.3g} steps"
        )
    half = values[values.size // 2 :]
    if (
        progress <= max(significant, 0.1 * levels.excess)
        and values.size >= FEWEST_STEPS_FOR_STALLED
        and spread(half) > ERRATIC_SHARE * levels.excess
    ):
        return f"the loss jumps by ±{spread(half):.3g} from step to step without coming down"
    return ""


def _stuck_at_baseline(
    values: Series, levels: _Levels, baseline: float | None, lower_bound: float | None
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


def _forecast_misses(
    levels: _Levels, progress: float, steps: int, planned_steps: int | None
) -> str:
    """Why a descending loss is too slow; or empty.

    At the pace seen the excess halves in steps · ln 2 / −ln(1 − progress/excess).
    """
    share = min(progress / levels.excess, 1.0 - 1e-9)
    halving = steps * math.log(2.0) / -math.log1p(-share)
    horizon = planned_steps if planned_steps is not None else SLOW_FACTOR * steps
    if halving <= max(horizon, steps):
        return ""
    return f"at this pace halving the loss takes {halving:.3g} steps"


def _without_progress(
    values: Series,
    levels: _Levels,
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
        late = _forecast_misses(levels, max(optimistic, 1e-300), steps, planned_steps)
        if late:
            return "slow", late.replace("takes", "takes at least")
    if falling and by_trend > FLAT_SHARE * levels.excess:
        return "converging", "the loss comes down, though by little"
    return "undetermined", "the noise from step to step hides whether the loss comes down"


def _measured_rate(rate: Rate | None, per: int) -> Measurement | None:
    if rate is None or rate.value is None:
        return None
    value, interval = rate.value, rate.ci
    if rate.kind == "linear" and per > 1:
        value = value ** (1.0 / per)
        interval = (interval[0] ** (1.0 / per), interval[1] ** (1.0 / per)) if interval else None
    units = {"linear": "factor per step", "sublinear": "exponent"}
    return Measurement(value, unit=units.get(rate.kind, "order"), n=rate.n, ci=interval)


def _measured_limit(rate: Rate | None) -> Measurement | None:
    if rate is None or rate.limit is None:
        return None
    return Measurement(rate.limit, unit="loss", n=rate.n, converged=rate.kind != "undetermined")
