"""What a short loss series says: diverging, oscillating, stalled, slow, converging, or nothing.

The order of the questions matters. Non-finite values and a lasting rise are told first; then
whether the loss came down by more than its noise can explain; only a loss that did not may be
called oscillating or stalled, and only when the noise is small enough to exclude a useful descent.
A loss that came down converges, at a rate that is fitted where the evidence carries it. Whatever
the noise leaves open is ``undetermined``.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from convlint.curves.levels import levels_of
from convlint.curves.rates import Rate, convergence_rate
from convlint.curves.setbacks import rising, swinging, thrown_to
from convlint.curves.stalls import forecast_misses, stuck_at_baseline, without_progress
from convlint.curves.superlinear import acceleration_of_norms
from convlint.curves.trend import noise_level
from convlint.gpu_probes.observations import Convergence, Measurement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from convlint.curves.trend import Series

SQUARABLE = (1e-100, 1e100)
"""Losses outside this range are divided by their largest first: sums of their squares would
underflow or overflow float64."""

FEWEST_STEPS = 10
"""Medians of the first and last tenth need more than one value to mean anything."""

LONGEST_SERIES = 400
"""Longer series are thinned to medians of blocks: pairwise slopes cost the square of the length."""

RECOVERED = 0.75
"""A loss that was thrown off has recovered below this share of its start; above, the run has only
come back to a model that predicts a constant, its features lost."""

PROGRESS_IN_ERRORS = 4.0
PROGRESS_SHARE = 0.02
"""Progress counts when it exceeds this many standard errors and this share of the excess."""

TRAINED_SHARE = 0.8
"""A series that starts below this share of the baseline belongs to a trained model, for which a
small further descent is normal."""


def convergence(
    values: Sequence[float | None],
    *,
    lower_bound: float | None = 0.0,
    baseline: float | None = None,
    planned_steps: int | None = None,
    gradient_norms: Sequence[float | None] | None = None,
) -> Convergence:
    """Classify a loss series, one value per step.

    ``None`` and non-finite values stand for NaN or infinity. ``lower_bound`` is a value the loss
    cannot undercut (None when there is none), ``baseline`` the loss of the best constant predictor
    on the same scale, ``planned_steps`` the length of the full run. ``gradient_norms``, at the same
    steps, are asked for superlinear convergence where the loss leaves the rate open: they tend to a
    limit that is known, zero, and only with the root of what the loss has left.

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
        result = convergence(
            shrunk,
            lower_bound=bound,
            baseline=level,
            planned_steps=planned_steps,
            gradient_norms=gradient_norms,
        )
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
    levels = levels_of(series, lower_bound)
    peak = thrown_to(series, lower_bound)
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
    rise = rising(series, levels, lower_bound)
    if rise:
        return conclusion("diverging", rise)
    progress = levels.first - levels.last
    significant = max(PROGRESS_IN_ERRORS * levels.error, PROGRESS_SHARE * levels.excess)
    swing = swinging(series, levels, progress, significant)
    if swing:
        return conclusion("oscillating", swing)
    stuck = stuck_at_baseline(series, levels, baseline, lower_bound)
    if stuck:
        return conclusion("stalled", stuck)
    rate = convergence_rate(series, noise_level(series), lower_bound=lower_bound)
    if rate.kind == "undetermined":
        rate = _by_norms(gradient_norms, len(values)) or rate
    if progress > significant:
        late = forecast_misses(levels, progress, finite.size, planned_steps)
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
    return conclusion(*without_progress(series, levels, progress, baseline, planned_steps, per))


def _by_norms(norms: Sequence[float | None] | None, steps: int) -> Rate | None:
    """The superlinear rate the gradient norms show; None when they are absent or show none."""
    if norms is None or len(norms) != steps:
        return None
    known = [norm for norm in norms if norm is not None and math.isfinite(norm)]
    if len(known) != steps or not max(known) > 0.0:
        return None
    seen = acceleration_of_norms(np.array(known, dtype=np.float64))
    if seen is None:
        return None
    return Rate("quadratic" if seen.quadratic else "superlinear", seen.order, None, None, seen.n)


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
