"""Curves fitted to a decreasing series, each standing for a kind of convergence.

Variable projection (Golub and Pereyra 1973): the linear coefficients are solved for, only the shape
is searched.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from convlint.curves.trend import Series

LARGEST_EXPONENT = 3.0
"""Power laws steeper than this imitate exponentials over any window we see."""

EDGE_SHARE = 0.85
"""An exponent this close to the largest means that the curve wanted to be an exponential."""

LARGEST_LOG_ERROR = 2.5
"""Standard error of ln p at which the exponent is as good as unknown."""


@dataclass(frozen=True)
class Fit:
    """A fitted curve: the kind of convergence it stands for, residual sum of squares, free
    parameters, shape with its interval, limit, whether the shape lies at the search's edge, and a
    power law's offset k₀."""

    kind: str
    squares: float
    parameters: int
    value: float
    ci: tuple[float, float]
    limit: float
    at_edge: bool = False
    offset: float = 1.0


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


def fit_exponential(values: Series, floor: float | None) -> Fit:
    steps = np.arange(values.size, dtype=np.float64)

    def squares(log_rates: Series) -> tuple[Series, Series]:
        return _projected(values, np.exp(-np.exp(log_rates)[:, None] * steps), floor)

    grid = np.linspace(math.log(0.05 / values.size), math.log(5.0), 121)
    best, width = _refined(squares, grid)
    lowest, limits = squares(np.array([best]))
    low, high = _profile_interval(squares, best, width, float(lowest[0]), values.size - 3)
    interval = (math.exp(-math.exp(high)), math.exp(-math.exp(low)))
    factor = math.exp(-math.exp(best))
    return Fit("linear", float(lowest[0]), 3, factor, interval, float(limits[0]))


def fit_two_exponentials(values: Series, single: Fit, floor: float | None) -> Fit:
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
    return Fit("linear", lowest, 5, math.exp(-math.exp(best[0])), interval, limit)


def _two_exponentials(
    values: Series, steps: Series, log_rates: Series, floor: float | None
) -> tuple[Series, Series]:
    """Residual squares and limits per row (slow, fast) of ``log_rates``."""
    return _with_limit(values, np.exp(-np.exp(log_rates)[:, :, None] * steps), floor)


def _with_limit(values: Series, shapes: Series, floor: float | None) -> tuple[Series, Series]:
    """Residual squares and limits of f∞ + Σ a_j·shape_j, a_j >= 0, f∞ >= floor.

    ``shapes`` is (rows, shapes per row, steps). Where an amplitude would be negative, a rise, the
    squares are infinite.
    """
    scales = np.maximum(np.linalg.norm(shapes, axis=2, keepdims=True), 1e-300)
    shapes = shapes / scales
    ones = np.ones((shapes.shape[0], 1, shapes.shape[2]))
    design = np.concatenate([ones, shapes], axis=1)
    normal = design @ design.transpose(0, 2, 1)
    trace = np.trace(normal, axis1=1, axis2=2)[:, None, None]
    ridge = 1e-13 * trace * np.eye(design.shape[1])
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
    squares = np.where((solution[:, 1:] < 0.0).any(axis=1), np.inf, squares)
    return squares, solution[:, 0]


def fit_momentum(values: Series, single: Fit, floor: float | None) -> Fit:
    """f∞ + (a + b·k + c·k²)·ρᵏ, a, b, c >= 0: linear convergence of well-tuned momentum.

    Polyak's heavy ball at its best parameters has double roots, hence the polynomial: it starts
    slowly, where power laws start steeply.
    """
    n = values.size
    steps = np.arange(n, dtype=np.float64)
    powers = np.stack([np.ones(n), steps, steps**2])

    def squares(log_rates: Series) -> tuple[Series, Series]:
        decay = np.exp(-np.exp(log_rates)[:, None] * steps)
        return _with_limit(values, decay[:, None, :] * powers, floor)

    grid = np.linspace(math.log(0.2 / n), math.log(5.0), 81)
    best, width = _refined(squares, grid)
    lowest, limits = squares(np.array([best]))
    if not lowest[0] < single.squares:
        return replace(single, parameters=5)
    low, high = _profile_interval(squares, best, width, float(lowest[0]), n - 5)
    interval = (math.exp(-math.exp(high)), math.exp(-math.exp(low)))
    return Fit("linear", float(lowest[0]), 5, math.exp(-math.exp(best)), interval, float(limits[0]))


def fit_power(values: Series, floor: float | None) -> Fit:
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
    return Fit(
        "sublinear", lowest, 4, power, interval, limit, at_edge=edge, offset=math.exp(best[1])
    )


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
