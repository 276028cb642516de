"""At which rate does a decreasing series converge: linear, sublinear, superlinear, or unknown.

Three curves are fitted by variable projection (Golub and Pereyra 1973: the linear coefficients are
solved for, only the shape is searched) and compared by the small-sample Akaike criterion:

* linear convergence, f∞ + a·ρᵏ, and f∞ + a·ρᵏ + b·σᵏ while a faster direction dies out;
* sublinear convergence, f∞ + a·(k + k₀)⁻ᵖ.

Superlinear convergence is read off the decrements before any fit, since a handful of steps
ends it at rounding error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from convlint.curves.trend import Series

SMALLEST_VARIANCE = 1e-300
"""A fit that is exact to the last bit still has a logarithm."""

AKAIKE_DECIDES = 0.95
"""Akaike weight above which one of two curves is preferred; below it the rate is undetermined."""

ADEQUATE_VARIANCE = 4.0
"""A fit whose residual variance exceeds this many times the noise variance misses the curve."""

LIMIT_SLACK = 0.02
"""A fitted limit may undercut the known lower bound of the loss by this share of the range (and
three noise deviations); without the bound, power laws with absurd limits win over exponentials."""

FEWEST_POINTS = 12
"""Curves of three to five parameters cannot be told apart on fewer points."""

LARGEST_EXPONENT = 3.0
"""Power laws steeper than this imitate exponentials over any window we see."""

EDGE_SHARE = 0.85
"""An exponent this close to the largest means that the curve wanted to be an exponential."""

SHARPER_VARIANCE = 0.01
"""The end of a series is fitted on its own when that leaves a tenth of the residual."""

SEARCH_PRECISION = 1e-6
"""Residuals below this share of the range are the search's, not the curve's."""

LARGEST_LOG_ERROR = 2.5
"""Standard error of ln p at which the exponent is as good as unknown."""

ROUNDING = 64.0 * float(np.finfo(np.float64).eps)
"""Relative size of decrements that are rounding error."""


@dataclass(frozen=True)
class Rate:
    """A convergence rate. ``kind`` is ``linear``, ``sublinear``, ``superlinear``, ``quadratic``
    or ``undetermined``; ``value`` the factor per step (linear), the exponent p (sublinear) or the
    order (superlinear); ``limit`` the fitted f∞; ``n`` the points used; ``at_edge`` that a power
    law was tried and strained to look like an exponential."""

    kind: str
    value: float | None = None
    ci: tuple[float, float] | None = None
    limit: float | None = None
    n: int = 0
    at_edge: bool = False


def convergence_rate(values: Series, noise: float, *, lower_bound: float | None) -> Rate:
    """The rate of a decreasing series with step-to-step ``noise`` (standard deviation).

    ``lower_bound`` is a value the limit cannot undercut (0 for cross entropy and squared error).
    The first eighth is dropped, again and again, while no curve is adequate: transients
    (several eigenvalues, momentum) are not the asymptotic rate.
    """
    if float(np.ptp(values)) <= ROUNDING * float(np.abs(values).max()):
        return Rate("undetermined")
    superlinear = _superlinear(values, noise)
    if superlinear is not None:
        return superlinear
    floor = None
    if lower_bound is not None:
        floor = lower_bound - 3.0 * noise - LIMIT_SLACK * float(np.ptp(values))
    start = 0
    stride = max(1, values.size // 8)
    while values.size - start >= max(FEWEST_POINTS, values.size // 3):
        tail = values[start:]
        decided = _compare(tail, noise, floor)
        if decided is not None:
            if not _persists(decided, tail, noise, floor):
                return Rate("undetermined")
            return _sharpened(decided, tail, floor) if decided.kind == "linear" else decided
        start += stride
    return Rate("undetermined")


def _persists(rate: Rate, values: Series, noise: float, floor: float | None) -> bool:
    """Whether a power law still holds without its first quarter.

    A power law looks the same from any start, whereas a sum of many exponentials turns into the
    slowest of them; the rate is a statement about the end.
    """
    later = values[values.size // 4 :]
    if rate.kind != "sublinear" or later.size < FEWEST_POINTS:
        return True
    again = _compare(later, noise, floor)
    return again is None or (again.kind != "linear" and not again.at_edge)


def _sharpened(rate: Rate, values: Series, floor: float | None) -> Rate:
    """The factor of the last half alone, where a clean series has shed its faster directions."""
    later = values[values.size // 2 :]
    if later.size < FEWEST_POINTS:
        return rate
    whole, end = _fit_exponential(values, floor), _fit_exponential(later, floor)
    cleaner = end.squares / later.size < SHARPER_VARIANCE * whole.squares / values.size
    # The end of a noisy series is all noise: its interval is then wider, not narrower.
    narrower = rate.ci is None or end.ci[1] - end.ci[0] < rate.ci[1] - rate.ci[0]
    return (
        Rate("linear", end.value, end.ci, end.limit, later.size) if cleaner and narrower else rate
    )


def _compare(values: Series, noise: float, floor: float | None) -> Rate | None:
    """The kind of the adequate curves, when the evidence decides; None when none is adequate."""
    n = values.size
    single = _fit_exponential(values, floor)
    fits = (single, _fit_two_exponentials(values, single, floor), _fit_power(values, floor))
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
    if same_kind < AKAIKE_DECIDES or best.squares > allowed or best.at_edge:
        return Rate("undetermined", limit=best.limit, n=n, at_edge=fits[-1].at_edge)
    return Rate(best.kind, best.value, best.ci, best.limit, n)


@dataclass(frozen=True)
class _Fit:
    """A fitted curve: the kind of convergence it stands for, residual sum of squares, free
    parameters, shape with its interval, limit, and whether the shape lies at the search's edge."""

    kind: str
    squares: float
    parameters: int
    value: float
    ci: tuple[float, float]
    limit: float
    at_edge: bool = False


def _corrected_akaike(squares: float, n: int, parameters: int) -> float:
    k = parameters + 1  # The residual variance is estimated too.
    return (
        n * math.log(max(squares / n, SMALLEST_VARIANCE))
        + 2.0 * k
        + 2.0 * k * (k + 1.0) / (n - k - 1.0)
    )


def _projected(values: Series, shapes: Series, floor: float | None) -> tuple[Series, Series]:
    """Residual squares and limits of f∞ + a·shape, a >= 0, f∞ >= floor, per row of ``shapes``."""
    centred = shapes - shapes.mean(axis=1, keepdims=True)
    target = values - values.mean()
    slopes = np.maximum(centred @ target / np.maximum((centred**2).sum(axis=1), 1e-300), 0.0)
    limits = values.mean() - slopes * shapes.mean(axis=1)
    if floor is not None:
        below = limits < floor
        through = shapes @ (values - floor) / np.maximum((shapes**2).sum(axis=1), 1e-300)
        slopes = np.where(below, np.maximum(through, 0.0), slopes)
        limits = np.where(below, floor, limits)
    residuals = values - limits[:, None] - slopes[:, None] * shapes
    return (residuals**2).sum(axis=1), limits


def _fit_exponential(values: Series, floor: float | None) -> _Fit:
    steps = np.arange(values.size, dtype=np.float64)

    def squares(log_rates: Series) -> tuple[Series, Series]:
        return _projected(values, np.exp(-np.exp(log_rates)[:, None] * steps), floor)

    grid = np.linspace(math.log(0.05 / values.size), math.log(5.0), 121)
    best, width = _refined(squares, grid)
    lowest, limits = squares(np.array([best]))
    low, high = _profile_interval(squares, best, width, float(lowest[0]), values.size - 3)
    interval = (math.exp(-math.exp(high)), math.exp(-math.exp(low)))
    factor = math.exp(-math.exp(best))
    return _Fit("linear", float(lowest[0]), 3, factor, interval, float(limits[0]))


def _fit_two_exponentials(values: Series, single: _Fit, floor: float | None) -> _Fit:
    """f∞ + a·ρᵏ + b·σᵏ: linear convergence while a faster direction is still dying out.

    Gradient descent on any quadratic is a sum of exponentials, which a power law imitates well; it
    is called sublinear only where it beats this curve too. The rate is that of the slower one.
    """
    steps = np.arange(values.size, dtype=np.float64)
    log_rates = np.linspace(math.log(0.2 / values.size), math.log(5.0), 41)
    slow, fast = np.triu_indices(log_rates.size, 2)
    pairs = np.stack([log_rates[slow], log_rates[fast]], axis=1)
    spacing = float(log_rates[1] - log_rates[0])
    squares, limits = _two_exponentials(values, steps, pairs, floor)
    offsets = np.stack(np.meshgrid(*[np.linspace(-1.0, 1.0, 7)] * 2), axis=-1).reshape(-1, 2)
    best = pairs[squares.argmin()]
    width = spacing
    for _ in range(14):
        nearby = best + width * offsets
        nearby = nearby[nearby[:, 1] > nearby[:, 0] + 0.1]
        squares, limits = _two_exponentials(values, steps, nearby, floor)
        index = int(squares.argmin())
        best, width = nearby[index], width * 0.45
    lowest, limit = float(squares[index]), float(limits[index])
    if lowest >= single.squares:
        return replace(single, parameters=5)

    def profile(slow_log_rates: Series) -> tuple[Series, Series]:
        rows = np.stack([slow_log_rates, np.full(slow_log_rates.size, best[1])], axis=1)
        return _two_exponentials(values, steps, rows, floor)

    low, high = _profile_interval(profile, float(best[0]), spacing, lowest, values.size - 5)
    interval = (math.exp(-math.exp(high)), math.exp(-math.exp(low)))
    return _Fit("linear", lowest, 5, math.exp(-math.exp(best[0])), interval, limit)


def _two_exponentials(
    values: Series, steps: Series, log_rates: Series, floor: float | None
) -> tuple[Series, Series]:
    """Residual squares and limits per row (slow, fast) of ``log_rates``; amplitudes >= 0."""
    shapes = np.exp(-np.exp(log_rates)[:, :, None] * steps)
    ones = np.ones((shapes.shape[0], 1, steps.size))
    design = np.concatenate([ones, shapes], axis=1)
    normal = design @ design.transpose(0, 2, 1)
    ridge = 1e-13 * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(3)
    solution = np.linalg.solve(normal + ridge, (design @ values)[..., None])[..., 0]
    limits = solution[:, 0]
    if floor is not None:
        below = limits < floor
        inner = (normal + ridge)[:, 1:, 1:]
        through = np.linalg.solve(inner, (shapes @ (values - floor))[..., None])[..., 0]
        clamped = np.concatenate([np.full((through.shape[0], 1), floor), through], axis=1)
        solution = np.where(below[:, None], clamped, solution)
    residuals = values - (solution[:, None, :] @ design)[:, 0]
    squares = (residuals**2).sum(axis=1)
    # A negative amplitude is a rise, which is no convergence of this kind.
    squares = np.where((solution[:, 1:] < 0.0).any(axis=1), np.inf, squares)
    return squares, solution[:, 0]


def _fit_power(values: Series, floor: float | None) -> _Fit:
    n = values.size
    steps = np.arange(n, dtype=np.float64)

    def squares(shapes: Series) -> tuple[Series, Series]:
        """Over rows (ln p, ln k₀)."""
        powers, offsets = np.exp(shapes[:, :1]), np.exp(shapes[:, 1:])
        curves = np.exp(-powers * np.log1p(steps / offsets))
        return _projected(values, curves, floor)

    lowest_row = np.array([math.log(0.05), math.log(0.1)])
    highest_row = np.array([math.log(LARGEST_EXPONENT), math.log(2.0 * n)])
    axes = [np.linspace(low, high, 41) for low, high in zip(lowest_row, highest_row, strict=True)]
    grid = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
    widths = np.array([float(axis[1] - axis[0]) for axis in axes])
    best = grid[squares(grid)[0].argmin()]
    offsets = np.stack(np.meshgrid(*[np.linspace(-1.0, 1.0, 9)] * 2), axis=-1).reshape(-1, 2)
    scale = 1.0
    # Exponent and offset trade off along a narrow valley: the search shrinks slowly.
    for _ in range(32):
        nearby = np.clip(best + scale * widths * offsets, lowest_row, highest_row)
        found, limits = squares(nearby)
        index = int(found.argmin())
        best, scale = nearby[index], scale * 0.65

    lowest, limit, power = float(found[index]), float(limits[index]), math.exp(best[0])
    width = 1.96 * _log_power_error(steps, best, values, limit, lowest)
    interval = (power * math.exp(-width), power * math.exp(width))
    edge = power > EDGE_SHARE * LARGEST_EXPONENT
    return _Fit("sublinear", lowest, 4, power, interval, limit, at_edge=edge)


def _log_power_error(
    steps: Series, shape: Series, values: Series, limit: float, squares: float
) -> float:
    """Standard error of ln p from the Jacobian in all four parameters, which trade off strongly."""
    power, offset = math.exp(shape[0]), math.exp(shape[1])
    curve = np.exp(-power * np.log1p(steps / offset))
    amplitude = float(curve @ (values - limit)) / float(curve @ curve)
    by_log_power = -amplitude * power * np.log1p(steps / offset) * curve
    by_log_offset = amplitude * power * (steps / (steps + offset)) * curve
    jacobian = np.stack([np.ones_like(steps), curve, by_log_power, by_log_offset], axis=1)
    lengths = np.linalg.norm(jacobian, axis=0)
    if float(lengths.min()) < 1e-100:
        return LARGEST_LOG_ERROR
    scaled = jacobian / lengths
    inverse = np.linalg.pinv(scaled.T @ scaled, rcond=1e-14)
    variance = squares / max(values.size - 4, 1) * float(inverse[2, 2]) / float(lengths[2]) ** 2
    return min(math.sqrt(max(variance, 0.0)), LARGEST_LOG_ERROR)


def _refined(
    squares: Callable[[Series], tuple[Series, Series]], grid: Series
) -> tuple[float, float]:
    """The minimiser of ``squares`` near the best grid point, and the grid's spacing."""
    spacing = float(grid[1] - grid[0])
    centre, width = float(grid[squares(grid)[0].argmin()]), spacing
    for _ in range(12):
        nearby = centre + width * np.linspace(-1.0, 1.0, 9)
        centre = float(nearby[squares(nearby)[0].argmin()])
        width *= 0.3
    return min(max(centre, float(grid[0])), float(grid[-1])), spacing


def _profile_interval(
    squares: Callable[[Series], tuple[Series, Series]],
    best: float,
    spacing: float,
    lowest: float,
    freedom: int,
) -> tuple[float, float]:
    """Where the residual squares stay within 4/freedom of the least: about 95 %."""
    ceiling = lowest * (1.0 + 4.0 / max(freedom, 1)) + 1e-300
    width = spacing
    for _ in range(40):
        around = best + width * np.linspace(-1.0, 1.0, 41)
        inside = around[squares(around)[0] <= ceiling]
        if inside.size == 0:
            width *= 0.3
        elif inside[0] <= around[0] or inside[-1] >= around[-1]:
            width *= 2.0
            if width > 16.0:
                break
        elif inside.size < 5:
            width *= 0.3
        else:
            break
    if inside.size == 0:
        return best, best
    return float(inside[0]), float(inside[-1])


def _superlinear(values: Series, noise: float) -> Rate | None:
    """Superlinear convergence: the logarithmic decrements themselves grow.

    With d_k = f_k − f_{k+1}, linear convergence has constant c_k = ln(d_k / d_{k+1}), sublinear a
    shrinking one, superlinear a growing one and quadratic one that doubles.
    """
    decrements = -np.diff(values)
    # A curve this steep has large second differences of its own, which are no noise; once it has
    # arrived, what still moves is.
    arrived = float(np.abs(decrements[-max(3, decrements.size // 4) :]).max())
    floor = np.maximum(ROUNDING * np.abs(values[:-1]), 10.0 * min(noise, arrived))
    below = np.nonzero(decrements <= floor)[0]
    usable = decrements[: below[0]] if below.size else decrements
    logs = -np.diff(np.log(usable)) if usable.size > 1 else np.empty(0)
    if logs.size < 4:
        return None
    last, before = logs[-3:], logs[:-3]
    grows = float(last.mean()) > 1.5 * max(float(np.median(before)), 0.0)
    if not (bool((last > 0.5).all()) and grows and last[-1] > 1.0 and last[-1] > last[0]):
        return None
    ratios = logs[1:] / logs[:-1]
    doubling = ratios[-3:]
    quadratic = bool(((doubling >= 1.85) & (doubling <= 2.15)).all())
    order = float(np.median(doubling))
    return Rate(
        "quadratic" if quadratic else "superlinear", order, None, float(values[-1]), logs.size
    )
