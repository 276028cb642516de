"""The perceptron's mistakes on separable data are at most (R/γ)² (Novikoff 1962).

R is the largest norm of an input, γ the margin of any unit separator; the widest margin gives the
sharpest bound. It is the distance of the origin from the convex hull of the yᵢxᵢ, which Gilbert's
algorithm (1966) finds, with a lower bound that certifies separability.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Vector = NDArray[np.float64]

PRECISE = 1e-3
"""Relative distance of the margin's bounds at which the search ends."""

TOUCHES = 1e-6
"""The hull comes this close to the origin, as a share of R: no margin worth the name."""


@dataclass(frozen=True)
class Margin:
    """The widest margin lies between ``low`` and ``high``; ``separator`` is a unit vector of
    margin ``low``. ``separable`` is None when the search ended before it was known."""

    low: float
    high: float
    radius: float
    separator: Vector
    separable: bool | None

    @property
    def mistake_bound(self) -> float:
        """(R/γ)², by the margin found; infinite when no separator was."""
        return (self.radius / self.low) ** 2 if self.low > 0.0 else math.inf


@dataclass(frozen=True)
class PerceptronRun:
    """What Rosenblatt's rule did: ``converged`` means a whole pass without a mistake."""

    mistakes: int
    passes: int
    converged: bool
    weights: Vector


def margin(
    inputs: ArrayLike, labels: ArrayLike, *, bias: bool = True, steps: int = 10_000
) -> Margin:
    """The widest margin of ``inputs`` (n, d) with ``labels`` (n,) of −1 and 1.

    ``bias`` appends a constant 1 to each input, as a perceptron with bias sees it.

    Raises:
        ValueError: shapes do not match, a value is not finite, or a label is neither −1 nor 1.
    """
    signed, _ = _signed(inputs, labels, bias)
    radius = float(np.linalg.norm(signed, axis=1).max())
    point = signed[np.linalg.norm(signed, axis=1).argmin()].copy()
    low, separator = 0.0, np.zeros(signed.shape[1])
    for _ in range(steps):
        norm = float(np.linalg.norm(point))
        if norm <= TOUCHES * radius:
            return Margin(0.0, norm, radius, separator, False)
        along = signed @ point
        nearest = int(along.argmin())
        if along[nearest] / norm > low:
            low, separator = float(along[nearest]) / norm, point / norm
        if norm - low <= PRECISE * norm:
            break
        # The point of the segment to the nearest vertex that is closest to the origin.
        direction = signed[nearest] - point
        share = -float(point @ direction) / max(float(direction @ direction), 1e-300)
        point = point + min(max(share, 0.0), 1.0) * direction
    high = float(np.linalg.norm(point))
    return Margin(low, high, radius, separator, True if low > 0.0 else None)


def perceptron(
    inputs: ArrayLike, labels: ArrayLike, *, bias: bool = True, passes: int = 1000
) -> PerceptronRun:
    """Rosenblatt's rule, w ← w + yx at each mistake, in order, until a pass has none.

    Raises:
        ValueError: as ``margin``.
    """
    signed, _ = _signed(inputs, labels, bias)
    weights, mistakes = np.zeros(signed.shape[1]), 0
    for number in range(1, passes + 1):
        before = mistakes
        for row in signed:
            if float(row @ weights) <= 0.0:
                weights += row
                mistakes += 1
        if mistakes == before:
            return PerceptronRun(mistakes, number, True, weights)
    return PerceptronRun(mistakes, passes, False, weights)


def breaks_bound(mistakes: int, found: Margin) -> bool:
    """Whether a perceptron that started at zero made more mistakes than separable data allow.

    True means a bug in its update; data that are not (known to be) separable have no bound.
    """
    return found.separable is True and mistakes > found.mistake_bound * (1.0 + 1e-9)


def _signed(inputs: ArrayLike, labels: ArrayLike, bias: bool) -> tuple[Vector, Vector]:
    x = np.asarray(inputs, dtype=np.float64)
    y = np.asarray(labels, dtype=np.float64).reshape(-1)
    if x.ndim != 2 or len(x) != len(y) or not len(x):
        raise ValueError(f"inputs are (n, d) and labels (n,), not {x.shape} and {y.shape}")
    if not np.isfinite(x).all():
        raise ValueError("an input is not finite")
    if not np.isin(y, (-1.0, 1.0)).all():
        raise ValueError("labels are -1 and 1")
    if bias:
        x = np.hstack([x, np.ones((len(x), 1))])
    return x * y[:, None], y
