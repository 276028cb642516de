"""Lloyd's algorithm never raises the inertia, in neither of its half-steps, and ends (MacQueen 1967).

Assigning each point to its nearest centre, and moving each centre to the mean of its points, both
minimise the same sum of squared distances.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from convlint.gpu_probes.classical.monotone import Violation, first_rise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

TOLERANCE = {"float64": 1e-9, "float32": 1e-5}
"""Relative rise of the inertia that rounding explains."""


@dataclass(frozen=True)
class LloydCheck:
    """``inertias`` has two entries for each iteration, after assignment and after the means;
    ``empty`` the number of clusters without a point in the last one."""

    inertias: tuple[float, ...]
    violation: Violation | None
    empty: int


def inertia(points: ArrayLike, centres: ArrayLike, assignment: ArrayLike) -> float:
    """Sum of squared distances of ``points`` (n, d) from their centres (k, d)."""
    x, c = np.asarray(points, dtype=np.float64), np.asarray(centres, dtype=np.float64)
    return float(((x - c[np.asarray(assignment, dtype=np.intp)]) ** 2).sum())


def check_lloyd(
    points: ArrayLike,
    centres: Sequence[ArrayLike],
    assignments: Sequence[ArrayLike],
    *,
    tolerance: float = TOLERANCE["float64"],
) -> LloydCheck:
    """Check the history of a run: ``assignments[i]`` (n,) was made with ``centres[i]`` (k, d), and
    ``centres[i + 1]`` are its means. The last centres may be left out.

    Raises:
        ValueError: the histories do not fit together.
    """
    if not assignments or not len(assignments) <= len(centres) <= len(assignments) + 1:
        raise ValueError("give the centres before each assignment, and at most one set after")
    values = []
    for index, assignment in enumerate(assignments):
        values.append(inertia(points, centres[index], assignment))
        if index + 1 < len(centres):
            values.append(inertia(points, centres[index + 1], assignment))
    clusters = len(np.asarray(centres[-1]))
    used = np.unique(np.asarray(assignments[-1], dtype=np.intp)).size
    return LloydCheck(tuple(values), first_rise(values, tolerance), clusters - used)


def lloyd(
    points: ArrayLike, centres: ArrayLike, *, iterations: int = 300
) -> tuple[list[NDArray[np.float64]], list[NDArray[np.intp]]]:
    """Lloyd's algorithm until no assignment changes: the histories ``check_lloyd`` takes.

    A cluster without a point keeps its centre.
    """
    x = np.asarray(points, dtype=np.float64)
    history = [np.array(centres, dtype=np.float64)]
    assignments: list[NDArray[np.intp]] = []
    for _ in range(iterations):
        current = history[-1]
        distances = ((x[:, None, :] - current[None, :, :]) ** 2).sum(axis=2)
        nearest = distances.argmin(axis=1)
        if assignments and bool((nearest == assignments[-1]).all()):
            break
        assignments.append(nearest)
        moved = current.copy()
        for cluster in np.unique(nearest):
            moved[cluster] = x[nearest == cluster].mean(axis=0)
        history.append(moved)
    return history, assignments
