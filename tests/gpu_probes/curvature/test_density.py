"""The spectral density of operators whose spectrum is known, and its standard errors."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from convlint.gpu_probes.curvature.density import (
    DEGREES,
    converged_pairs,
    density_of_one,
    spectral_density,
)
from convlint.gpu_probes.curvature.lanczos import TorchVectors, lanczos
from convlint.gpu_probes.curvature.operator import RetainedGraphHessian

SPACE = TorchVectors(torch.float64)


def quadratic(spectrum):
    """The loss θᵀAθ/2 with A of this spectrum in a random basis."""
    generator = torch.Generator().manual_seed(0)
    size = len(spectrum)
    q = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))[0]
    matrix = q @ torch.diag(torch.as_tensor(spectrum, dtype=torch.float64)) @ q.T
    theta = torch.ones(size, dtype=torch.float64, requires_grad=True)
    return RetainedGraphHessian(0.5 * theta @ matrix @ theta, [theta])


def found_pairs(hessian, iterations=20, seed=1):
    start = torch.randn(
        hessian.dimension, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    basis = []
    seen = lanczos(hessian, start, SPACE, iterations=iterations, tolerance=0.0, basis=basis)
    return seen, converged_pairs(seen, basis)


def network_like(size=300):
    """A narrow bulk and a few eigenvalues far above it."""
    bulk = 0.05 * np.random.default_rng(2).normal(size=size - 4)
    return np.concatenate([bulk, [1.0, 3.0, 7.0, 20.0]])


def test_converged_pairs_are_eigenpairs():
    hessian = quadratic(network_like())
    _, pairs = found_pairs(hessian)
    assert [round(pair.value, 6) for pair in pairs[:3]] == [20.0, 7.0, 3.0]
    for pair in pairs:
        assert float(pair.vector.norm()) == pytest.approx(1.0, rel=1e-10)
        # The tolerance of a pair: 1e-2 of the largest eigenvalue.
        assert float((hessian(pair.vector) - pair.value * pair.vector).norm()) <= 0.2


def test_known_eigenvalues_count_one_each_and_all_shares_make_one():
    hessian = quadratic(network_like())
    _, pairs = found_pairs(hessian)
    seen = spectral_density(hessian, pairs, vectors=3)
    assert seen is not None
    single = seen.nodes[: len(seen.nodes) - sum(seen.runs)]
    assert single == tuple((pair.value, 1.0 / 300.0) for pair in pairs)
    assert sum(share for _, share in seen.nodes) == pytest.approx(1.0, rel=1e-12)
    assert len(seen.runs) == 3
    # What was taken out does not come back among the nodes of the rest.
    rest = [value for value, share in seen.nodes[len(single) :] if share > 1e-12]
    assert max(rest) < 1.5


def test_moments_of_the_nodes_are_those_reported_and_lie_within_their_errors():
    spectrum = network_like()
    hessian = quadratic(spectrum)
    inside = total = 0
    for seed in range(12):
        _, pairs = found_pairs(hessian, seed=100 + seed)
        seen = spectral_density(hessian, pairs, vectors=6, seed=seed)
        for degree, moment in zip(DEGREES, seen.moments, strict=True):
            of_nodes = sum(share * value**degree for value, share in seen.nodes)
            assert moment.value == pytest.approx(of_nodes, rel=1e-10)
            low, high = moment.ci
            # Two standard errors, and the square of the tolerance a pair may be off by.
            slack = (high - low) / 2 + 1e-3 * abs(moment.value)
            true = float(np.mean(spectrum**degree))
            inside += low - slack <= true <= high + slack
            total += 1
    # 90 % of Student's t of five degrees of freedom lies within two standard errors.
    assert inside >= 0.8 * total


def test_taking_out_what_is_known_lessens_the_error_of_the_higher_moments():
    spectrum = network_like()
    hessian = quadratic(spectrum)
    errors = {"plain": [], "without outliers": []}
    for seed in range(10):
        _, pairs = found_pairs(hessian, seed=200 + seed)
        for name, known in (("plain", []), ("without outliers", pairs)):
            seen = spectral_density(hessian, known, vectors=2, seed=seed)
            truth = float(np.mean(spectrum**2))
            errors[name].append(abs(seen.moments[1].value / truth - 1.0))
    # The four outliers carry nearly all of the second moment.
    assert np.mean(errors["without outliers"]) < 0.05 * np.mean(errors["plain"])


def test_equal_eigenvalues_are_not_lost_when_one_vector_of_them_is_known():
    spectrum = [1.0] * 30 + [10.0] * 10
    hessian = quadratic(spectrum)
    _, pairs = found_pairs(hessian)
    assert len(pairs) == 2
    seen = spectral_density(hessian, pairs, vectors=40)
    high = sum(share for value, share in seen.nodes if value > 5.0)
    # The share of one vector has the deviation sqrt(2 · 0.25 · 0.75 / 38) = 0.1, of forty 0.016.
    assert high == pytest.approx(0.25, abs=0.05)


def test_a_spectrum_known_entirely_needs_no_random_vector():
    hessian = quadratic([1.0, 2.0, 5.0])
    _, pairs = found_pairs(hessian)
    products = hessian.products
    seen = spectral_density(hessian, pairs, vectors=3)
    assert hessian.products == products
    assert sorted(value for value, _ in seen.nodes) == pytest.approx([1.0, 2.0, 5.0])
    assert seen.runs == ()
    assert seen.moments[0].value == pytest.approx(8.0 / 3.0)


def test_one_vector_has_moments_and_no_standard_error():
    hessian = quadratic(network_like())
    run, _ = found_pairs(hessian)
    seen = density_of_one(run)
    assert seen.runs == (run.steps,)
    assert all(moment.ci is None for moment in seen.moments)


def test_one_vector_of_signs_has_every_moment_of_a_diagonal():
    spectrum = torch.as_tensor(network_like())
    theta = torch.ones(len(spectrum), dtype=torch.float64, requires_grad=True)
    hessian = RetainedGraphHessian(0.5 * theta @ (spectrum * theta), [theta])
    density = spectral_density(hessian, [], vectors=1, seed=3)
    for degree, moment in zip(DEGREES, density.moments, strict=True):
        # z'D^k z is the trace for signs z; normal numbers are off by sqrt(2 tr D^2k) / n.
        assert moment.value == pytest.approx(float((spectrum**degree).mean()), rel=1e-12)


def test_without_time_there_is_no_density():
    hessian = quadratic(network_like())
    assert spectral_density(hessian, [], vectors=3, deadline=time.monotonic()) is None
