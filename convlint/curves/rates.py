"""At which rate does a decreasing series converge: linear, sublinear, superlinear, or unknown.

Curves are fitted (``convlint.curves.fits``) and compared by the small-sample Akaike criterion:

* linear convergence, f∞ + a·ρᵏ, with a second exponential while a faster direction dies out, or
  with the polynomial of well-tuned momentum;
* sublinear convergence, f∞ + a·(k + k₀)⁻ᵖ.

Superlinear convergence is read off the decrements before any fit, since a handful of steps
ends it at rounding error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from convlint.curves.fits import fit_exponential, fit_momentum, fit_power, fit_two_exponentials
from convlint.curves.superlinear import ROUNDING, acceleration
from convlint.curves.trend import efficient_noise_level

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.curves.trend import Series

SMALLEST_VARIANCE = 1e-300
"""A fit that is exact to the last bit still has a logarithm."""

AKAIKE_DECIDES = {"linear": 0.97, "sublinear": 0.92}
"""Akaike weight above which one of two kinds is preferred; below it the rate is undetermined."""

MIXTURE_MARGIN = 28.0
"""Akaike difference by which curves of so many parameters must beat a power law. They imitate one
closely, to within some 20 by chance alone; true mixtures of 60 steps lie above 34."""
MOST_PARAMETERS = 5

ADEQUATE_VARIANCE = 2.0
"""A fit whose residual variance exceeds this many times the noise variance misses the curve."""

LIMIT_SLACK = 0.002
"""A fitted limit may undercut the known lower bound of the loss by this share of the range (and
three noise deviations); without the bound, power laws with absurd limits win over exponentials."""

FEWEST_POINTS = 12
"""Curves of three to five parameters cannot be told apart on fewer points."""

FIRST_STEPS = 4
"""A question that is open from one of the first steps on may be decided from the next."""

SHARPER_VARIANCE = 0.01
"""The end of a series is fitted on its own when that leaves a tenth of the residual."""

SEARCH_PRECISION = 1e-6
"""Residuals below this share of the range are the search's, not the curve's."""

PARSIMONY = 6.0
"""Akaike difference from which the factor of a richer curve replaces that of one exponential, which
has the smaller error where both fit."""

NO_EXPONENTIAL = 60.0
"""Akaike difference from which one exponential is out of the question. A power law that fits best
is then believed without outweighing the mixtures, which imitate it with one parameter more: two
factors and two amplitudes would have to be tuned to each other for that, whereas true mixtures
seen this clearly leave the power law behind."""

STRAINED = 4.0
"""Akaike difference from which a power law at its largest exponent speaks for an exponential."""

LEANS = 2.0
"""Akaike difference by which one exponential, at the end of the series, speaks against a power law
for which the evidence of the whole is less than ``CLEAR``."""
CLEAR = 68.0

MOST_OF_NOISE = 1.25
"""By more than this the deviation from all second differences exceeds that from their median only
where the curve bends, not by chance."""

VISIBLE = 3.0
FEWEST_VISIBLE = 10
"""Points that stand this many noise deviations above the end: on fewer, every steep descent looks
like an exponential, Newton's and quasi-Newton's too."""


@dataclass(frozen=True)
class Rate:
    """A convergence rate. ``kind`` is ``linear``, ``sublinear``, ``superlinear``, ``quadratic``
    or ``undetermined``; ``value`` the factor per step (linear), the exponent p (sublinear) or the
    order (superlinear); ``limit`` the fitted f∞; ``n`` the points used; ``at_edge`` that a power
    law was tried and strained to look like an exponential, ``leans`` that one exponential fitted
    better; ``clear`` that no exponential comes near."""

    kind: str
    value: float | None = None
    ci: tuple[float, float] | None = None
    limit: float | None = None
    n: int = 0
    at_edge: bool = False
    leans: bool = False
    clear: bool = False


def convergence_rate(values: Series, noise: float, *, lower_bound: float | None) -> Rate:
    """The rate of a decreasing series with step-to-step ``noise`` (standard deviation).

    ``lower_bound`` is a value the limit cannot undercut (0 for cross entropy and squared error).
    The first steps are dropped, more and more of them, while no curve is adequate: transients
    (several eigenvalues, momentum) are not the asymptotic rate.
    """
    if float(np.ptp(values)) <= ROUNDING * float(np.abs(values).max()):
        return Rate("undetermined")
    faster = acceleration(values, noise)
    if faster is not None:
        kind = "quadratic" if faster.quadratic else "superlinear"
        return Rate(kind, faster.order, None, float(values[-1]), faster.n)
    floor = None
    if lower_bound is not None:
        floor = lower_bound - 0.3 * noise - LIMIT_SLACK * float(np.ptp(values))
    # Whether a curve fits hangs on few points: the deviation must not be low by chance.
    deviation = min(efficient_noise_level(values), MOST_OF_NOISE * noise)
    for start in _starts(values.size):
        tail = values[start:]
        decided = _compare(tail, deviation, floor)
        if decided is None:
            continue
        if decided.kind == "undetermined":
            if start < FIRST_STEPS:
                continue
            return decided
        if not _persists(decided, tail, deviation, floor):
            break
        return _sharpened(decided, tail, floor) if decided.kind == "linear" else decided
    return Rate("undetermined")


def _starts(n: int) -> Iterator[int]:
    """Where fits begin, in the order they are tried: the first steps are the likeliest to differ,
    and carry most of what tells curves apart."""
    stride = max(1, n // 8)
    starts = sorted({0, 1, 2, FIRST_STEPS, *range(stride, n, stride)})
    yield from (start for start in starts if n - start >= max(FEWEST_POINTS, n // 3))


def _persists(rate: Rate, values: Series, noise: float, floor: float | None) -> bool:
    """Whether a power law still holds without its first quarter.

    A power law looks the same from any start, whereas a sum of many exponentials turns into the
    slowest of them; the rate is a statement about the end.
    """
    later = values[values.size // 4 :]
    if rate.kind != "sublinear" or later.size < FEWEST_POINTS:
        return True
    again = _compare(later, noise, floor)
    if again is None:
        return True
    return again.kind != "linear" and not again.at_edge and (rate.clear or not again.leans)


def _sharpened(rate: Rate, values: Series, floor: float | None) -> Rate:
    """The factor of the last half alone, where a clean series has shed its faster directions."""
    later = values[values.size // 2 :]
    if later.size < FEWEST_POINTS:
        return rate
    whole, end = fit_exponential(values, floor), fit_exponential(later, floor)
    cleaner = end.squares / later.size < SHARPER_VARIANCE * whole.squares / values.size
    # The end of a noisy series is all noise: its interval is then wider, not narrower.
    narrower = rate.ci is None or end.ci[1] - end.ci[0] < rate.ci[1] - rate.ci[0]
    return (
        Rate("linear", end.value, end.ci, end.limit, later.size) if cleaner and narrower else rate
    )


def _compare(values: Series, noise: float, floor: float | None) -> Rate | None:
    """The kind of the adequate curves, when the evidence decides; None when none is adequate."""
    n = values.size
    single = fit_exponential(values, floor)
    fits = (
        single,
        fit_two_exponentials(values, single, floor),
        fit_momentum(values, single, floor),
        fit_power(values, floor),
    )
    rounding = ROUNDING * float(np.abs(values).max())
    allowed = ADEQUATE_VARIANCE * max(noise, rounding) ** 2 * n
    if min(fit.squares for fit in fits) > allowed:
        return None
    # The search is no finer than this: curves that fit better are equally good.
    finest = n * max(rounding, SEARCH_PRECISION * float(np.ptp(values))) ** 2
    scores = np.array([_corrected_akaike(max(f.squares, finest), n, f.parameters) for f in fits])
    weights = np.exp(-0.5 * (scores - scores.min()))
    weights /= weights.sum()
    best = fits[int(weights.argmax())]
    same_kind = sum(w for fit, w in zip(fits, weights, strict=True) if fit.kind == best.kind)
    arrived = float(np.median(values[-max(3, n // 4) :]))
    visible = int((values - arrived > VISIBLE * noise).sum())
    unseen = best.kind == "linear" and visible < FEWEST_VISIBLE
    believed = best is fits[-1] and scores[0] > scores.min() + NO_EXPONENTIAL
    imitable = best.parameters == MOST_PARAMETERS and scores[-1] - scores.min() < MIXTURE_MARGIN
    open_question = imitable or (same_kind < AKAIKE_DECIDES[best.kind] and not believed)
    if open_question or best.squares > allowed or best.at_edge or unseen:
        strained = fits[-1].at_edge and scores[-1] > scores.min() + STRAINED
        leans = bool(scores[-1] > scores[0] + LEANS)
        return Rate("undetermined", limit=best.limit, n=n, at_edge=strained, leans=leans)
    if best.kind == "linear" and scores[0] < scores.min() + PARSIMONY:
        best = single
    clear = bool(scores[0] > scores.min() + CLEAR)
    return Rate(best.kind, best.value, best.ci, best.limit, n, clear=clear)


def _corrected_akaike(squares: float, n: int, parameters: int) -> float:
    k = parameters + 1  # The residual variance is estimated too.
    return (
        n * math.log(max(squares / n, SMALLEST_VARIANCE))
        + 2.0 * k
        + 2.0 * k * (k + 1.0) / (n - k - 1.0)
    )
