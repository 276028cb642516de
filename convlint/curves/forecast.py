"""Where a loss will be, with an interval that has been tried on the series' own past.

An ensemble of an exponential, a power law and the last value, weighted by the small-sample Akaike
criterion; the interval comes from a bootstrap of blocks of residuals (Künsch 1989), which keeps
their correlation. It is published only when the same method, shown the first two thirds, covers
the last third.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from convlint.curves.facts import Forecast
from convlint.curves.fits import fit_exponentials, fit_powers

if TYPE_CHECKING:
    from collections.abc import Callable

    from convlint.curves.fits import Fit
    from convlint.curves.trend import Series

    Curve = Callable[[Series], Series]

FEWEST_POINTS = 24
MOST_POINTS = 120
"""Each of some hundred fits sees at most so many medians."""

MEMBERS = 3
"""Of the ensemble: an exponential, a power law, the last value."""

BOOTSTRAPS = 60
COVERAGE = 0.8
"""Of the interval."""

BACK_TEST = 0.65
"""Share of the last third that the interval must cover: of some thirty points, a true interval of
80 % covers fewer in one case of fifty."""

AHEAD = 2.0
"""Without a plan the forecast is for twice the steps seen."""


def forecast(
    values: Series, steps: Series, target: float, lower_bound: float | None
) -> Forecast | None:
    """Forecast of ``values``, measured at ``steps`` (ascending), for the step ``target``.

    None for a short series, one that no decreasing curve describes, a run that is over, or when
    the back-test fails.
    """
    per = -(-values.size // MOST_POINTS)
    if per > 1:
        whole = values.size - values.size % per
        values = np.median(values[:whole].reshape(-1, per), axis=1)
        steps = steps[:whole].reshape(-1, per)[:, -1]
    n = values.size
    span = float(steps[-1] - steps[0])
    if n < FEWEST_POINTS or span <= 0.0:
        return None
    if target <= steps[-1]:
        return None
    # Fits count points; the steps of a log are even but for a few.
    position = (target - float(steps[0])) / span * (n - 1)
    shown = 2 * n // 3
    rest = np.arange(shown, n, dtype=np.float64)
    past = _ensemble(values[:shown], rest, lower_bound)
    if past is None:
        return None
    low, _, high = past
    covered = float(((values[shown:] >= low) & (values[shown:] <= high)).mean())
    if covered < BACK_TEST:
        return None
    future = _ensemble(values, np.array([position]), lower_bound)
    if future is None:
        return None
    least = -math.inf if lower_bound is None else lower_bound
    bottom, middle, top = (max(float(edge[0]), least) for edge in future)
    return Forecast(target, middle, bottom, top, covered)


def _ensemble(
    values: Series, at: Series, lower_bound: float | None
) -> tuple[Series, Series, Series] | None:
    """Lower edge, middle and upper edge at the points ``at``; the edges hold single values."""
    members = _members(values, lower_bound)
    n = values.size
    k = np.arange(n, dtype=np.float64)
    weights = _weights(members, values, k)
    if not np.isfinite(weights).all():
        return None
    random = np.random.default_rng(0)
    block = max(1, round(n ** (1.0 / 3.0)))
    chosen = random.choice(len(members), size=BOOTSTRAPS, p=weights)
    drawn = []
    for index, member in enumerate(members):
        count = int((chosen == index).sum())
        if not count:
            continue
        fitted = member(k)
        residual = values - fitted
        starts = random.integers(0, n - block + 1, size=(count, -(-n // block)))
        blocks = residual[starts[:, :, None] + np.arange(block)].reshape(count, -1)[:, :n]
        later = random.choice(residual, size=(count, at.size))
        again = _refitted(index, fitted + blocks, lower_bound)
        drawn.append(np.array([curve(at) for curve in again]) + later)
    low, high = np.percentile(
        np.concatenate(drawn), [50.0 * (1.0 - COVERAGE), 50.0 * (1.0 + COVERAGE)], axis=0
    )
    middle = sum(w * member(at) for w, member in zip(weights, members, strict=True))
    return low, np.asarray(middle), high


def _members(values: Series, lower_bound: float | None) -> list[Curve]:
    return [_refitted(index, values[None], lower_bound)[0] for index in range(MEMBERS)]


def _refitted(index: int, values: Series, lower_bound: float | None) -> list[Curve]:
    """Member ``index`` of the ensemble, fitted to each of ``values`` (series, steps) at once."""
    if index == MEMBERS - 1:
        return [_last(row) for row in values]
    fits = (fit_exponentials, fit_powers)[index](values, lower_bound)
    return [_curve(fit, row) for fit, row in zip(fits, values, strict=True)]


def _last(values: Series) -> Curve:
    """The median of the last eighth, from there on."""
    level = float(np.median(values[-max(3, values.size // 8) :]))
    return lambda k: np.full(k.size, level)


def _curve(fit: Fit, values: Series) -> Curve:
    """The fitted curve as a function of the point."""

    def shape(k: Series) -> Series:
        if fit.kind == "linear":
            return np.asarray(np.exp(k * math.log(max(fit.value, 1e-300))))
        return np.asarray(np.exp(-fit.value * np.log1p(k / fit.offset)))

    seen = shape(np.arange(values.size, dtype=np.float64))
    amplitude = max(float(seen @ (values - fit.limit)) / max(float(seen @ seen), 1e-300), 0.0)
    return lambda k: fit.limit + amplitude * shape(k)


def _weights(members: list[Curve], values: Series, k: Series) -> Series:
    n = values.size
    scores = []
    for member, parameters in zip(members, (3, 4, 1), strict=True):
        squares = max(float(((values - member(k)) ** 2).sum()), 1e-300)
        count = parameters + 1
        scores.append(n * math.log(squares / n) + 2.0 * count * n / (n - count - 1.0))
    weights = np.exp(-0.5 * (np.array(scores) - min(scores)))
    return np.asarray(weights / weights.sum())
