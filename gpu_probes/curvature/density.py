"""Spectral density of the Hessian: eigenvalues known one by one, and a quadrature of all others.

Ghorbani, Krishnan and Xiao, "An Investigation into Neural Net Optimization via Hessian Eigenvalue
Density", ICML 2019: Lanczos from a random vector gives nodes and weights of a Gauss quadrature of
the density, exact for that vector up to degree 2m - 1. What is left is the sample of vectors, and
the few eigenvalues far outside the bulk, which carry the higher moments, are where a random vector
is most mistaken: its share of a single direction is that of a squared normal number. Eigenvectors
that an earlier run found are therefore taken out of the random vectors and counted for what they
are, one each; the same split makes Hutch++ (Meyer et al. 2021) better than plain sampling.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, NamedTuple

import torch

from convlint.gpu_probes.curvature.lanczos import TorchVectors, lanczos
from convlint.gpu_probes.curvature.trace import random_signs
from convlint.gpu_probes.observations import Measurement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from convlint.gpu_probes.curvature.lanczos import RitzValues
    from convlint.gpu_probes.curvature.operator import HessianOperator

STEPS = 10
"""Lanczos steps per random vector: moments exact to degree 19, and the sample is what is short."""

FEWEST_STEPS = 4
"""A run that the deadline cut shorter than this is left out."""

PAIR_TOLERANCE = 1e-2
"""Ritz pairs count as eigenpairs when their residual is below this share of the largest eigenvalue
in size: what they then distort is of the order of its square."""

MOST_PAIRS = 8
"""Vectors held at most, each as large as the parameters."""

DEGREES = (1, 2, 3, 4)

UNIT = "loss per squared parameter"

Nodes = tuple[tuple[float, float], ...]
"""Pairs of an eigenvalue and a share of all eigenvalues."""


class EigenPair(NamedTuple):
    """An eigenvalue and its unit eigenvector, of shape (dimension,)."""

    value: float
    vector: torch.Tensor


class Density(NamedTuple):
    """``nodes``: first single eigenvalues, then the nodes of each random vector in turn.

    The shares add up to one. ``runs`` has the number of nodes of each random vector. ``moments``
    are the means of the first four powers of an eigenvalue, each with a standard error over the
    random vectors as interval where there are several.
    """

    nodes: Nodes
    runs: tuple[int, ...]
    moments: tuple[Measurement, ...]


def converged_pairs(seen: RitzValues, basis: Sequence[torch.Tensor]) -> list[EigenPair]:
    """The eigenpairs a Lanczos run has found, those largest in size first, at most eight."""
    size = float(abs(seen.values).max())
    found = [i for i in range(seen.steps) if seen.residuals[i] <= PAIR_TOLERANCE * size]
    # In a bulk a small residual is near to some eigenvalue, not to one that stands alone.
    found = [i for i in found if abs(seen.values[i]) > PAIR_TOLERANCE * size]
    found.sort(key=lambda i: -abs(seen.values[i]))
    return [
        EigenPair(float(seen.values[i]), combined(seen.vectors[:, i].tolist(), basis))
        for i in found[:MOST_PAIRS]
    ]


def combined(coefficients: Sequence[float], basis: Sequence[torch.Tensor]) -> torch.Tensor:
    """Sum of the vectors of ``basis`` times their coefficients."""
    total = torch.zeros_like(basis[0])
    for coefficient, direction in zip(coefficients, basis, strict=False):
        total.add_(direction, alpha=coefficient)
    return total


def spectral_density(
    hessian: HessianOperator,
    pairs: Sequence[EigenPair],
    *,
    vectors: int,
    iterations: int = STEPS,
    seed: int = 0,
    deadline: float = float("inf"),
) -> Density | None:
    """The density from at most ``vectors`` vectors of random signs, less ``pairs``.

    With signs the diagonal of the Hessian adds nothing to the error of the mean eigenvalue.

    ``deadline`` (``time.monotonic``) is checked between products. None when not one vector was
    finished before it.
    """
    dimension = hessian.dimension
    if len(pairs) >= dimension:
        return _pooled([(pair.value, 1.0 / dimension) for pair in pairs], [], 0.0)
    known = [pair.vector for pair in pairs]
    space = TorchVectors(hessian.gradient.dtype)
    generator = torch.Generator(device=hessian.gradient.device).manual_seed(seed)
    runs: list[RitzValues] = []

    def elsewhere(vector: torch.Tensor) -> torch.Tensor:
        return space.project_out(known, hessian(vector))

    for _ in range(vectors):
        if time.monotonic() >= deadline:
            break
        signs = random_signs(hessian.gradient, generator)
        start = space.project_out(known, space.project_out(known, signs))
        seen = lanczos(
            elsewhere, start, space, iterations=iterations, tolerance=0.0, deadline=deadline
        )
        if seen is not None and (seen.exhausted or seen.steps >= min(iterations, FEWEST_STEPS)):
            runs.append(seen)
    if not runs:
        return None
    single = [(pair.value, 1.0 / dimension) for pair in pairs]
    return _pooled(single, runs, 1.0 - len(pairs) / dimension)


def density_of_one(seen: RitzValues) -> Density:
    """The density from the one random vector that ``seen`` was started from."""
    return _pooled([], [seen], 1.0)


def _pooled(
    single: Sequence[tuple[float, float]], runs: Sequence[RitzValues], rest: float
) -> Density:
    """``rest`` is the share of all eigenvalues that each of ``runs`` is a quadrature of."""
    nodes = list(single)
    for seen in runs:
        shares = seen.weights * (rest / len(runs))
        nodes.extend(zip(seen.values.tolist(), shares.tolist(), strict=True))
    moments = []
    for degree in DEGREES:
        known = math.fsum(share * value**degree for value, share in single)
        sample = [known + rest * float(seen.weights @ seen.values**degree) for seen in runs]
        moments.append(_with_error(sample or [known], degree))
    return Density(tuple(nodes), tuple(seen.steps for seen in runs), tuple(moments))


def _with_error(sample: Sequence[float], degree: int) -> Measurement:
    n = len(sample)
    mean = math.fsum(sample) / n
    unit = UNIT if degree == 1 else f"({UNIT})^{degree}"
    if n < 2:
        return Measurement(mean, unit=unit, n=n)
    error = math.sqrt(math.fsum((value - mean) ** 2 for value in sample) / (n - 1) / n)
    return Measurement(mean, unit=unit, n=n, ci=(mean - error, mean + error))
