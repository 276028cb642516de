"""A spectral density as a curve and in shares, from the nodes of its quadratures."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from convlint.gpu_probes.observations import Curvature

BREADTH = 0.01
"""Standard deviation of the Gaussian in place of each node, as a share of the spectrum's width."""

POINTS = 200

FAINTEST = 1e-6
"""Shares below this are the tails of the Gaussians, not of the spectrum."""


def broadened(nodes: Sequence[tuple[float, float]]) -> list[tuple[float, float | None]]:
    """The shares of eigenvalues with each node replaced by a Gaussian of its height.

    A share below ``FAINTEST`` is a gap. ``nodes`` are pairs of eigenvalue and share.
    """
    low, high = min(value for value, _ in nodes), max(value for value, _ in nodes)
    width = BREADTH * (high - low)
    if width <= 0.0:
        return list(nodes)
    margin = 4.0 * width
    points: list[tuple[float, float | None]] = []
    for i in range(POINTS):
        at = low - margin + (high - low + 2.0 * margin) * i / (POINTS - 1)
        share = sum(s * math.exp(-0.5 * ((at - value) / width) ** 2) for value, s in nodes)
        points.append((at, share if share >= FAINTEST else None))
    return points


def share_between(curvature: Curvature, low: float, high: float) -> tuple[float, float | None]:
    """The share of the eigenvalues between ``low`` and ``high``, and its standard error.

    The error is that of the mean over the random vectors of the density; None for a single one.
    """
    whole = math.fsum(share for value, share in curvature.density if low < value < high)
    vectors, runs = len(curvature.density_runs), curvature.density_runs
    if vectors < 2:
        return whole, None
    first = len(curvature.density) - sum(runs)
    sample = []
    for length in runs:
        nodes = curvature.density[first : first + length]
        sample.append(vectors * math.fsum(share for value, share in nodes if low < value < high))
        first += length
    return whole, statistics.stdev(sample) / math.sqrt(vectors)


def effective_dimension(curvature: Curvature, scale: float) -> float:
    """Σ λ / (λ + ``scale``) over the positive eigenvalues: how many directions are steeper than that.

    One far above ``scale`` counts as one, one far below not at all (MacKay 1992, "A Practical
    Bayesian Framework for Backpropagation Networks", section 4).
    """
    shares = (share * v / (v + scale) for v, share in curvature.density if v > 0.0)
    return curvature.parameters * math.fsum(shares)
