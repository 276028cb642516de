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
from convlint.curves.fits import fit_exponential, fit_power

if TYPE_CHECKING:
    from collections.abc import Callable

    from convlint.curves.fits import Fit
    from convlint.curves.trend import Series

    Curve = Callable[[Series], Series]

FEWEST_POINTS = 24
MOST_POINTS = 120
"""Each of some hundred fits sees at most so many medians."""

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
    drawn = []
    for index in random.choice(len(members), size=BOOTSTRAPS, p=weights):
        fitted = members[index](k)
        residual = values - fitted
        starts = random.integers(0, n - block + 1, size=-(-n // block))
        noise = np.concatenate([residual[s : s + block] for s in starts])[:n]
        again = _again(members, int(index), fitted + noise, lower_bound)
        later = random.choice(residual, size=at.size)
        drawn.append(again(at) + later)
    low, high = np.percentile(
        np.array(drawn), [50.0 * (1.0 - COVERAGE), 50.0 * (1.0 + COVERAGE)], axis=0
    )
    middle = sum(w * member(at) for w, member in zip(weights, members, strict=True))
    return low, np.asarray(middle), high


def _members(values: Series, lower_bound: float | None) -> list[Curve]:
    return [
        _curve(fit_exponential(values, lower_bound), values),
        _curve(fit_power(values, lower_bound), values),
        _last(values),
    ]


def _again(members: list[Curve], index: int, values: Series, lower_bound: float | None) -> Curve:
    if index == 0:
        return _curve(fit_exponential(values, lower_bound), values)
    if index == 1:
        return _curve(fit_power(values, lower_bound), values)
    return _last(values)


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
