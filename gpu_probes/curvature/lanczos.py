"""Extreme eigenvalues of a symmetric operator by the Lanczos iteration.

Golub and Van Loan, "Matrix Computations", 4th ed., section 10.1-10.3: the Krylov space of one
start vector, reduced to a tridiagonal matrix T whose eigenvalues (Ritz values) approximate the
extreme eigenvalues, and whose residuals certify them: around each Ritz value lies an eigenvalue
within its residual, and the largest eigenvalue is at least the largest Ritz value.

The iteration is written over a small vector-space interface, so that it does not care where the
vectors live; ``TorchVectors`` serves flat tensors on the CPU and on CUDA.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

RESIDUAL_TOLERANCE = 1e-2
"""The largest value counts as converged when its residual is at most this share of it. The error is
of the order of the residual squared over the gap to the next eigenvalue, so far smaller."""

CONFIRMED = 0.5
"""Share of the tolerance at which the iteration stops. A start that hardly overlaps with the top
eigenvector shows the second one first, with a residual that falls, stays for some products at the
size of that overlap times the distance of the two, and rises again. Stopping at 1 % took the second
for the largest from up to a quarter of the starts of a small GPT, where the two are 5 % apart; half
of that, one product more, from none (``bench/curvature.py``)."""

BREAKDOWN = 1e-12
"""A next direction shorter than this share of the operator's size, in float64: the Krylov space is
invariant and its Ritz values are exact."""

CHUNK = 1 << 18
"""Elements per float64 partial sum: bounds the temporary memory of dot products."""

V = TypeVar("V")


class VectorSpace(Protocol[V]):
    """What the iteration needs of its vectors."""

    unit_roundoff: float

    def norm(self, vector: V) -> float:
        """Euclidean norm, accumulated in float64."""
        ...

    def scaled(self, vector: V, factor: float) -> V:
        """A new vector ``factor * vector``."""
        ...

    def inner(self, left: V, right: V) -> float:
        """Inner product, accumulated in float64."""
        ...

    def project_out(self, basis: Sequence[V], vector: V) -> V:
        """``vector`` minus its components along the orthonormal ``basis``."""
        ...


class TorchVectors:
    """Flat torch tensors of one dtype on one device; sums of products are float64."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.unit_roundoff = float(torch.finfo(dtype).eps) / 2

    def norm(self, vector: torch.Tensor) -> float:
        """Euclidean norm."""
        return math.sqrt(self.inner(vector, vector))

    def scaled(self, vector: torch.Tensor, factor: float) -> torch.Tensor:
        """A new tensor ``factor * vector``."""
        return vector * factor

    def inner(self, left: torch.Tensor, right: torch.Tensor) -> float:
        """Sum of products, chunk by chunk in float64."""
        total = torch.zeros((), dtype=torch.float64, device=left.device)
        for a, b in zip(torch.split(left, CHUNK), torch.split(right, CHUNK), strict=True):
            total += torch.dot(a.double(), b.double())
        return float(total)

    def project_out(self, basis: Sequence[torch.Tensor], vector: torch.Tensor) -> torch.Tensor:
        """Modified Gram-Schmidt in the vectors' own precision, which the second pass makes good.

        Nothing is copied and nothing waits for the device: for a small network this costs as much
        as its products.
        """
        result = vector.clone()
        for direction in basis:
            result.addcmul_(direction, torch.dot(direction, result), value=-1.0)
        return result


@dataclass(frozen=True)
class RitzValues:
    """What one Lanczos run knows of the spectrum; arrays of length m, ascending by value.

    ``residuals`` bound the distance to the nearest eigenvalue, ``weights`` are the squared
    overlaps of the start vector (they sum to 1: a Gauss quadrature of its spectral measure).
    ``converged`` says whether both ends met the tolerance; ``exhausted`` that the Krylov space
    became invariant. ``vectors`` has the coefficients of the Ritz vectors in the basis, one a column.
    """

    values: np.ndarray[Any, np.dtype[np.float64]]
    residuals: np.ndarray[Any, np.dtype[np.float64]]
    weights: np.ndarray[Any, np.dtype[np.float64]]
    converged: bool
    exhausted: bool
    upper_converged: bool
    vectors: np.ndarray[Any, np.dtype[np.float64]] = field(default_factory=lambda: np.empty((0, 0)))

    @property
    def steps(self) -> int:
        """Dimension of the Krylov space."""
        return int(self.values.size)

    @property
    def top(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Coefficients of the largest Ritz vector in the basis."""
        return self.vectors[:, -1]

    @property
    def largest(self) -> float:
        """Largest Ritz value, a lower bound of the largest eigenvalue."""
        return float(self.values[-1])

    @property
    def smallest(self) -> float:
        """Smallest Ritz value, an upper bound of the smallest eigenvalue."""
        return float(self.values[0])


def lanczos(
    apply: Callable[[V], V],
    start: V,
    space: VectorSpace[V],
    *,
    iterations: int,
    tolerance: float = RESIDUAL_TOLERANCE,
    deadline: float = float("inf"),
    lower_end: bool = True,
    basis: list[V] | None = None,
) -> RitzValues | None:
    """Run Lanczos from ``start`` with full, twice repeated reorthogonalisation.

    The largest and (with ``lower_end``) the smallest Ritz value converge when their residuals are
    below ``tolerance`` (the smallest relative to the largest in size). Stops when they have, the
    largest at half the tolerance, after ``iterations`` products, when the space is exhausted, or at
    ``deadline`` (``time.monotonic``), checked before every product but the first. The residuals
    certify that an eigenvalue is there, not that it is the largest: no iteration from one start sees
    an eigenvector which that start lacks. ``basis``, an empty list, receives the Krylov basis. None
    when ``start`` is zero or a product is not finite at once.
    """
    length = space.norm(start)
    if not (0.0 < length < float("inf")):
        return None
    basis = [] if basis is None else basis
    basis.append(space.scaled(start, 1.0 / length))
    diagonal: list[float] = []
    off_diagonal: list[float] = []
    ritz: RitzValues | None = None
    for step in range(iterations):
        if step and time.monotonic() >= deadline:
            break
        product = apply(basis[-1])
        product_norm = space.norm(product)
        if not product_norm < float("inf"):
            break
        diagonal.append(space.inner(basis[-1], product))
        # "Twice is enough": one Gram-Schmidt pass leaves cancellation error of the order of
        # roundoff over the surviving length, the second removes it (Parlett, 1980, section 6.9).
        residual = space.project_out(basis, space.project_out(basis, product))
        beta = space.norm(residual)
        off_diagonal.append(beta)
        size = max(max(abs(a) for a in diagonal), max(off_diagonal[:-1], default=0.0))
        # What projection of a product can leave by rounding alone is no new direction.
        floor = max(BREAKDOWN * size, 8.0 * space.unit_roundoff * product_norm)
        exhausted = beta <= floor
        ritz = _ritz_values(diagonal, off_diagonal, exhausted, tolerance)
        confirmed = ritz.residuals[-1] <= CONFIRMED * tolerance * abs(ritz.largest)
        if exhausted or (confirmed and (ritz.converged or not lower_end)):
            break
        basis.append(space.scaled(residual, 1.0 / beta))
    return ritz


def _ritz_values(
    diagonal: Sequence[float],
    off_diagonal: Sequence[float],
    exhausted: bool,
    tolerance: float,
) -> RitzValues:
    inner = off_diagonal[:-1]
    tridiagonal = np.diag(diagonal) + np.diag(inner, 1) + np.diag(inner, -1)
    values, vectors = np.linalg.eigh(tridiagonal)
    residuals = off_diagonal[-1] * np.abs(vectors[-1])
    size = float(np.abs(values).max())
    upper = exhausted or bool(residuals[-1] <= tolerance * abs(values[-1]))
    lower = exhausted or bool(residuals[0] <= tolerance * size)
    return RitzValues(
        values=values,
        residuals=residuals,
        weights=vectors[0] ** 2,
        converged=upper and lower,
        exhausted=exhausted,
        upper_converged=upper,
        vectors=vectors,
    )
