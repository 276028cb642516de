"""Curves fitted to a decreasing series, each standing for a kind of convergence.

``convlint.curves.variable_projection`` has the least squares; here are the shapes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from convlint.curves.variable_projection import Grid, promising, refined, solved

if TYPE_CHECKING:
    from collections.abc import Callable

    from convlint.curves.trend import Series

LARGEST_EXPONENT = 3.0
"""Power laws steeper than this imitate exponentials over any window we see."""

EDGE_SHARE = 0.85
"""An exponent this close to the largest means that the curve wanted to be an exponential."""

LARGEST_LOG_ERROR = 2.5
"""Standard error of ln p at which the exponent is as good as unknown."""

SINGLE_RATES, PAIRED_RATES, MOMENTUM_RATES, POWER_GRID = 121, 41, 81, 41
"""Points of the grids along each parameter."""

STARTS = 4
"""Best points of a grid from which curves of several amplitudes are searched."""

LEAST_DISTANCE = 0.1
"""Of the logarithmic rates of two exponentials; closer ones are one."""

KEPT_GRIDS = 4
"""Grids kept, each of one length: the columns of a log are equally long."""


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


def fit_exponential(values: Series, floor: float | None) -> Fit:
    """f∞ + a·ρᵏ."""
    found = fit_exponentials(values[None], floor)[0]

    def squares(log_rates: Series) -> Series:
        return solved(values, _decays(log_rates, values.size)[:, None], floor).squares

    best = math.log(-math.log(found.value))
    spacing = math.log(100.0 * values.size) / (SINGLE_RATES - 1)
    low, high = _profile_interval(squares, best, spacing, found.squares, values.size - 3)
    return replace(found, ci=(math.exp(-math.exp(high)), math.exp(-math.exp(low))))


def fit_exponentials(values: Series, floor: float | None) -> list[Fit]:
    """The same of each of ``values`` (series, steps), without intervals."""
    n = values.shape[1]
    grid = _exponential_grid(n)
    start = grid.best_for(values, floor)
    edges = grid.parameters[0], grid.parameters[-1]

    def shape(log_rates: Series) -> tuple[Series, Series]:
        shapes = _decays(log_rates, n)
        return shapes, (shapes * _log_rate_slopes(log_rates, n))[:, None]

    best, found = refined(values, start, shape, floor, *edges)
    factors = np.exp(-np.exp(best[:, 0]))
    return [
        Fit("linear", float(squares), 3, float(factor), (float(factor),) * 2, float(limit))
        for squares, factor, limit in zip(found.squares, factors, found.limits, strict=True)
    ]


@lru_cache(maxsize=KEPT_GRIDS)
def _exponential_grid(n: int) -> Grid:
    log_rates = np.linspace(math.log(0.05 / n), math.log(5.0), SINGLE_RATES)
    return Grid.of(log_rates[:, None], _decays(log_rates, n))


def _decays(log_rates: Series, n: int) -> Series:
    """ρᵏ for each entry, along a new last axis."""
    return np.asarray(np.exp(_log_rate_slopes(log_rates, n)))


def _log_rate_slopes(log_rates: Series, n: int) -> Series:
    """ln ρᵏ, which is the derivative of ρᵏ by its logarithmic rate over ρᵏ too."""
    return np.asarray(-np.exp(log_rates)[..., None] * np.arange(n, dtype=np.float64))


def fit_two_exponentials(values: Series, single: Fit, floor: float | None) -> Fit:
    """f∞ + a·ρᵏ + b·σᵏ: linear convergence while a faster direction is still dying out.

    Gradient descent on any quadratic is a sum of exponentials, which a power law imitates well; it
    is called sublinear only where it beats this curve too. The rate is that of the slower one.
    """
    n = values.size
    log_rates = np.linspace(math.log(0.2 / n), math.log(5.0), PAIRED_RATES)
    spacing = float(log_rates[1] - log_rates[0])
    slow, fast = np.triu_indices(PAIRED_RATES, 2)
    pairs = np.stack([slow, fast], axis=1)
    first = promising(values, _decays(log_rates, n), pairs, floor, STARTS)
    # The distance takes the place of the faster rate, so that the two stay apart.
    starts = np.stack([log_rates[slow[first]], log_rates[fast[first]] - log_rates[slow[first]]], 1)
    lowest_row = np.array([float(log_rates[0]) - 2.0 * spacing, LEAST_DISTANCE])
    highest_row = np.array([float(log_rates[-1]), float(log_rates[-1] - log_rates[0])])

    def shape(rows: Series) -> tuple[Series, Series]:
        pair = np.stack([rows[:, 0], rows.sum(axis=1)], axis=1)
        shapes = _decays(pair, n)
        both = shapes * _log_rate_slopes(pair, n)
        faster = both.copy()
        faster[:, 0] = 0.0
        return shapes, np.stack([both, faster], axis=1)

    repeated = np.broadcast_to(values, (len(starts), n))
    ends, found = refined(repeated, starts, shape, floor, lowest_row, highest_row)
    index = int(found.squares.argmin())
    best, lowest, limit = ends[index], float(found.squares[index]), float(found.limits[index])
    if not lowest < single.squares:
        return replace(single, parameters=5)

    def profile(slow_log_rates: Series) -> Series:
        rates = np.stack([slow_log_rates, np.full(slow_log_rates.size, best.sum())], axis=1)
        return solved(values, _decays(rates, n), floor).squares

    low, high = _profile_interval(profile, float(best[0]), spacing, lowest, n - 5)
    interval = (math.exp(-math.exp(high)), math.exp(-math.exp(low)))
    return Fit("linear", lowest, 5, math.exp(-math.exp(best[0])), interval, limit)


def fit_momentum(values: Series, single: Fit, floor: float | None) -> Fit:
    """f∞ + (a + b·k + c·k²)·ρᵏ, a, b, c >= 0: linear convergence of well-tuned momentum.

    Polyak's heavy ball at its best parameters has double roots, hence the polynomial: it starts
    slowly, where power laws start steeply.
    """
    n = values.size
    steps = np.arange(n, dtype=np.float64)
    powers = np.stack([np.ones(n), steps, steps**2])

    def shape(log_rates: Series) -> tuple[Series, Series]:
        shapes = _decays(log_rates, n) * powers
        return shapes, (shapes * _log_rate_slopes(log_rates, n))[:, None]

    def squares(log_rates: Series) -> Series:
        return solved(values, _decays(log_rates, n)[:, None, :] * powers, floor).squares

    grid = np.linspace(math.log(0.2 / n), math.log(5.0), MOMENTUM_RATES)
    decays = (_decays(grid, n)[:, None] * powers).reshape(-1, n)
    first = promising(values, decays, np.arange(len(decays)).reshape(-1, 3), floor, STARTS)
    repeated = np.broadcast_to(values, (first.size, n))
    ends, found = refined(repeated, grid[first, None], shape, floor, grid[:1], grid[-1:])
    index = int(found.squares.argmin())
    best, lowest = float(ends[index, 0]), float(found.squares[index])
    if not lowest < single.squares:
        return replace(single, parameters=5)
    low, high = _profile_interval(squares, best, float(grid[1] - grid[0]), lowest, n - 5)
    interval = (math.exp(-math.exp(high)), math.exp(-math.exp(low)))
    return Fit("linear", lowest, 5, math.exp(-math.exp(best)), interval, float(found.limits[index]))


def fit_power(values: Series, floor: float | None) -> Fit:
    """f∞ + a·(1 + k/k₀)⁻ᵖ."""
    found = fit_powers(values[None], floor)[0]
    steps = np.arange(values.size, dtype=np.float64)
    shape = np.log([found.value, found.offset])
    width = 1.96 * _log_power_error(steps, shape, values, found.limit, found.squares)
    return replace(found, ci=(found.value * math.exp(-width), found.value * math.exp(width)))


def fit_powers(values: Series, floor: float | None) -> list[Fit]:
    """The same of each of ``values`` (series, steps), without intervals."""
    n = values.shape[1]
    grid = _power_grid(n)
    steps = np.arange(n, dtype=np.float64)

    def shape(rows: Series) -> tuple[Series, Series]:
        """Over rows (ln p, ln k₀)."""
        powers, offsets = np.exp(rows[:, :1]), np.exp(rows[:, 1:])
        logs = np.log1p(steps / offsets)
        curves = np.exp(-powers * logs)
        by_log_power = -powers * logs * curves
        by_log_offset = powers * (steps / (steps + offsets)) * curves
        return curves[:, None], np.stack([by_log_power, by_log_offset], axis=1)[:, :, None]

    edges = grid.parameters[0], grid.parameters[-1]
    ends, found = refined(values, grid.best_for(values, floor), shape, floor, *edges)
    return [
        Fit(
            "sublinear", float(squares), 4, float(power), (float(power),) * 2, float(limit),
            at_edge=bool(power > EDGE_SHARE * LARGEST_EXPONENT), offset=float(offset),
        )
        for squares, limit, (power, offset) in zip(
            found.squares, found.limits, np.exp(ends), strict=True
        )
    ]  # fmt: skip


@lru_cache(maxsize=KEPT_GRIDS)
def _power_grid(n: int) -> Grid:
    log_powers = np.linspace(math.log(0.05), math.log(LARGEST_EXPONENT), POWER_GRID)
    log_offsets = np.linspace(math.log(0.1), math.log(2.0 * n), POWER_GRID)
    logs = np.log1p(np.arange(n, dtype=np.float64) / np.exp(log_offsets)[:, None])
    curves = np.exp(-np.exp(log_powers)[:, None, None] * logs).reshape(-1, n)
    parameters = np.stack(np.meshgrid(log_powers, log_offsets, indexing="ij"), axis=-1)
    return Grid.of(parameters.reshape(-1, 2), curves)


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


def _profile_interval(
    squares: Callable[[Series], Series],
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
        inside = around[squares(around) <= ceiling]
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
