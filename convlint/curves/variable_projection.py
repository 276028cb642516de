"""Least squares of f∞ + Σ a_j·shape_j(k), of many series or many shapes at once.

Variable projection (Golub and Pereyra 1973): the linear coefficients are solved for, only the shape
is searched. A grid of shapes gives the start, Levenberg's and Marquardt's steps with Kaufman's
Jacobian (1975) the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from convlint.curves.trend import Series

    Shape = Callable[[Series], tuple[Series, Series]]
    """Parameters (rows, parameters) to shapes (rows, shapes, steps) and their derivatives
    (rows, parameters, shapes, steps)."""

RIDGE = 1e-13
"""Share of the trace added to normal equations: shapes can be all but parallel."""

MOST_STEPS = 60
FIRST_DAMPING, LEAST_DAMPING, LARGEST_DAMPING = 1e-2, 1e-12, 1e5
ACCEPTED, REJECTED = 0.2, 8.0
"""Factors of the damping after a step that lowered the squares, and after one that did not."""

SPARE = 6
"""Rows fitted for each that is wanted of a grid."""

SETTLED = 1e-7
"""A relative gain of less ends the search of a row."""


class Solved(NamedTuple):
    """Per row: residual squares (infinite where an amplitude would be negative, a rise), limit,
    amplitudes (rows, shapes), residuals (rows, steps) and whether the limit lies at the floor."""

    squares: Series
    limits: Series
    amplitudes: Series
    residuals: Series
    at_floor: Series


def solved(values: Series, shapes: Series, floor: float | None) -> Solved:
    """The limits f∞ >= ``floor`` and amplitudes a_j >= 0 that fit best.

    ``values`` is (steps,) or (rows, steps), ``shapes`` (rows, shapes per row, steps). A single
    amplitude is held at zero where the series rises.
    """
    if shapes.shape[1] == 1:
        return _with_one_shape(values, shapes[:, 0], floor)
    return _with_several(values, shapes, floor)


def _with_one_shape(values: Series, shapes: Series, floor: float | None) -> Solved:
    means = values.mean(axis=-1)
    averages = shapes.mean(axis=1)
    centred = shapes - averages[:, None]
    size = np.maximum(np.einsum("rk,rk->r", centred, centred), 1e-300)
    slopes = np.maximum(_products(centred, values) / size, 0.0)
    limits = means - slopes * averages
    below = np.zeros(slopes.size, dtype=bool)
    if floor is not None:
        below = limits < floor
        size = np.maximum(np.einsum("rk,rk->r", shapes, shapes), 1e-300)
        through = np.maximum(_products(shapes, values - floor) / size, 0.0)
        slopes, limits = np.where(below, through, slopes), np.where(below, floor, limits)
    residuals = values - limits[:, None] - slopes[:, None] * shapes
    squares = np.einsum("rk,rk->r", residuals, residuals)
    return Solved(squares, limits, slopes[:, None], residuals, below)


def _with_several(values: Series, shapes: Series, floor: float | None) -> Solved:
    scales = np.maximum(np.linalg.norm(shapes, axis=2, keepdims=True), 1e-300)
    design = np.concatenate([np.ones_like(shapes[:, :1]), shapes / scales], axis=1)
    normal = design @ design.transpose(0, 2, 1)
    solution = _solution(normal, (design * np.atleast_2d(values)[:, None, :]).sum(axis=2))
    below = np.zeros(len(shapes), dtype=bool)
    if floor is not None:
        below = solution[:, 0] < floor
        if below.any():
            right = (design[:, 1:] * np.atleast_2d(values - floor)[:, None, :]).sum(axis=2)
            through = _solution(normal[:, 1:, 1:], right)
            clamped = np.concatenate([np.full((through.shape[0], 1), floor), through], axis=1)
            solution = np.where(below[:, None], clamped, solution)
    residuals = values - (solution[:, None, :] @ design)[:, 0]
    squares = np.einsum("rk,rk->r", residuals, residuals)
    squares = np.where((solution[:, 1:] < 0.0).any(axis=1), np.inf, squares)
    return Solved(squares, solution[:, 0], solution[:, 1:] / scales[:, :, 0], residuals, below)


def _products(rows: Series, values: Series) -> Series:
    """Of each row with the one series, or with its own."""
    if values.ndim == 1:
        return np.asarray(rows @ values)
    return np.asarray(np.einsum("rk,rk->r", rows, values))


def _solution(normal: Series, right: Series) -> Series:
    trace = np.trace(normal, axis1=1, axis2=2)[:, None, None]
    ridge = (RIDGE * trace + 1e-300) * np.eye(normal.shape[1])
    return np.asarray(np.linalg.solve(normal + ridge, right[..., None])[..., 0])


def promising(
    values: Series, shapes: Series, members: NDArray[np.int_], floor: float | None, count: int
) -> NDArray[np.int_]:
    """The ``count`` rows of ``members`` (rows, shapes per row) that fit ``values`` best.

    ``shapes`` (shapes, steps) are multiplied with one another once, not row by row; what rounding
    that leaves is taken off by fitting more rows than are wanted.
    """
    unit = shapes / np.maximum(np.linalg.norm(shapes, axis=1, keepdims=True), 1e-300)
    design = np.concatenate([np.ones((1, values.size)), unit])
    rows = np.concatenate([np.zeros_like(members[:, :1]), members + 1], axis=1)
    products = design @ design.T
    normal = products[rows[:, :, None], rows[:, None, :]]
    moved = values - values.mean()
    right = (design @ moved)[rows]
    solution = _solution(normal, right)
    squares = -(solution * right).sum(axis=1)
    rises = (solution[:, 1:] < 0.0).any(axis=1)
    if floor is not None:
        bound = floor - float(values.mean())
        below = solution[:, 0] < bound
        lowered = right[:, 1:] - bound * normal[:, 0, 1:]
        through = _solution(normal[:, 1:, 1:], lowered)
        clamped = values.size * bound**2 - (through * lowered).sum(axis=1)
        squares = np.where(below, clamped, squares)
        rises = np.where(below, (through < 0.0).any(axis=1), rises)
    likely = np.where(rises, np.inf, squares).argsort()[: SPARE * count]
    exact = solved(values, shapes[members[likely]], floor).squares
    return np.asarray(likely[exact.argsort()[:count]])


@dataclass(frozen=True)
class Grid:
    """Shapes of one amplitude that are tried on many series: ``parameters`` (rows, parameters),
    ``centred`` (rows, steps) less their ``averages``, and Σ s² about the average and about zero."""

    parameters: Series
    centred: Series
    averages: Series
    spread: Series
    size: Series

    @classmethod
    def of(cls, parameters: Series, shapes: Series) -> Grid:
        """The grid of ``shapes`` (rows, steps)."""
        averages = shapes.mean(axis=1)
        centred = shapes - averages[:, None]
        spread = np.maximum(np.einsum("rk,rk->r", centred, centred), 1e-300)
        size = np.maximum(np.einsum("rk,rk->r", shapes, shapes), 1e-300)
        return cls(parameters, centred, averages, spread, size)

    def best_for(self, values: Series, floor: float | None) -> Series:
        """The parameters that fit best of each of ``values`` (series, steps)."""
        means = values.mean(axis=1)[:, None]
        moved = values - means
        total = np.einsum("bk,bk->b", moved, moved)[:, None]
        products = moved @ self.centred.T
        slopes = np.maximum(products / self.spread, 0.0)
        squares = total - slopes * products
        if floor is not None:
            above = means - floor
            below = slopes * self.averages > above
            count = values.shape[1]
            lifted = products + count * above * self.averages
            through = np.maximum(lifted / self.size, 0.0)
            squares = np.where(below, total + count * above**2 - through * lifted, squares)
        return np.asarray(self.parameters[squares.argmin(axis=1)])


def refined(
    values: Series,
    start: Series,
    shape: Shape,
    floor: float | None,
    lowest: Series,
    highest: Series,
) -> tuple[Series, Solved]:
    """Parameters of the least squares near ``start`` (series, parameters), and what they give.

    ``values`` is (series, steps); the parameters stay between ``lowest`` and ``highest``.
    """
    best = np.clip(start, lowest, highest)
    shapes, changes = shape(best)
    found = solved(values, shapes, floor)
    damping = np.full(len(best), FIRST_DAMPING)
    open_rows = np.isfinite(found.squares)
    for _ in range(MOST_STEPS):
        rows = np.nonzero(open_rows)[0]
        if not rows.size:
            break
        part = Solved(*(field[rows] for field in found))
        # A parameter at its edge leaves it only inwards.
        held = (best[rows] <= lowest) * -1 + (best[rows] >= highest) * 1
        step = _step(part, shapes[rows], changes[rows], damping[rows], held)
        tried = np.clip(best[rows] + step, lowest, highest)
        new_shapes, new_changes = shape(tried)
        new = solved(values[rows], new_shapes, floor)
        better = new.squares < part.squares
        gain = part.squares - new.squares
        damping[rows] *= np.where(better, ACCEPTED, REJECTED)
        damping = np.maximum(damping, LEAST_DAMPING)
        done = np.where(better, gain <= SETTLED * part.squares, damping[rows] > LARGEST_DAMPING) | (
            tried == best[rows]
        ).all(axis=1)
        won = rows[better]
        best[won], shapes[won], changes[won] = (
            tried[better],
            new_shapes[better],
            new_changes[better],
        )
        for field, replacement in zip(found, new, strict=True):
            field[won] = replacement[better]
        open_rows[rows[done]] = False
    return best, found


def _step(
    found: Solved, shapes: Series, changes: Series, damping: Series, held: NDArray[np.int_]
) -> Series:
    """The damped Gauss-Newton step of each row; the linear coefficients follow the shape.

    ``held`` is −1 for a parameter at its lower edge and 1 for one at its upper edge.
    """
    jacobian = np.einsum("rj,rpjk->rpk", found.amplitudes, changes)
    constant = np.where(found.at_floor, 0.0, 1.0)[:, None, None]
    scales = np.maximum(np.linalg.norm(shapes, axis=2, keepdims=True), 1e-300)
    design = np.concatenate([constant + np.zeros_like(shapes[:, :1]), shapes / scales], axis=1)
    normal = design @ design.transpose(0, 2, 1)
    trace = np.trace(normal, axis1=1, axis2=2)[:, None, None]
    ridge = (RIDGE * trace + 1e-300) * np.eye(normal.shape[1])
    taken = np.linalg.solve(normal + ridge, design @ jacobian.transpose(0, 2, 1))
    jacobian = jacobian - taken.transpose(0, 2, 1) @ design
    outwards = np.einsum("rpk,rk->rp", jacobian, found.residuals) * held > 0.0
    jacobian = np.where(outwards[..., None], 0.0, jacobian)
    squares = jacobian @ jacobian.transpose(0, 2, 1)
    right = np.einsum("rpk,rk->rp", jacobian, found.residuals)
    size = np.maximum(np.diagonal(squares, axis1=1, axis2=2), 1e-250)
    damped = squares + (damping[:, None] * size + 1e-250)[:, :, None] * np.eye(size.shape[1])
    return np.asarray(np.linalg.solve(damped, right[..., None])[..., 0])
