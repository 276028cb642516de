"""Extreme eigenvalues against operators whose spectrum is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from convlint.gpu_probes.curvature.lanczos import TorchVectors, lanczos
from convlint.gpu_probes.curvature.measure import mixed_start
from convlint.gpu_probes.curvature.operator import RetainedGraphHessian


def rotation(size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(size, size, generator=generator, dtype=torch.float64)
    return torch.linalg.qr(matrix)[0]


def random_start(size, seed=1, dtype=torch.float64):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def run(operator, size, dtype=torch.float64, **options):
    options.setdefault("iterations", size)
    seen = lanczos(operator, random_start(size, dtype=dtype), TorchVectors(dtype), **options)
    assert seen is not None
    return seen


def quadratic(spectrum, dtype=torch.float64):
    """The loss θᵀAθ/2 with A = QΛQᵀ, differentiated by autograd."""
    q = rotation(len(spectrum))
    matrix = (q @ torch.diag(torch.tensor(spectrum, dtype=torch.float64)) @ q.T).to(dtype)
    theta = random_start(len(spectrum), seed=2, dtype=dtype).requires_grad_()
    return RetainedGraphHessian(0.5 * theta @ matrix @ theta, [theta])


def test_rotated_quadratic_gives_its_whole_spectrum():
    spectrum = np.geomspace(1e-3, 50.0, 24)
    seen = run(quadratic(spectrum), 24, tolerance=0.0)
    # Full reorthogonalisation in float64: the error is rounding, amplified by the size of A.
    np.testing.assert_allclose(seen.values, spectrum, rtol=1e-8, atol=1e-12)


def test_largest_eigenvalue_in_single_precision():
    seen = run(quadratic(np.geomspace(1e-3, 50.0, 40), torch.float32), 40, torch.float32)
    assert seen.largest == pytest.approx(50.0, rel=1e-6)


def test_indefinite_with_larger_negative_end():
    spectrum = [-9.0, *np.linspace(-1.0, 1.0, 20), 4.0]
    seen = run(quadratic(spectrum), len(spectrum), tolerance=1e-8)
    assert seen.largest == pytest.approx(4.0, rel=1e-8)
    assert seen.smallest == pytest.approx(-9.0, rel=1e-8)


def test_linear_regression():
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(50, 12, generator=generator, dtype=torch.float64)
    y = torch.randn(50, generator=generator, dtype=torch.float64)
    weight = torch.zeros(12, dtype=torch.float64, requires_grad=True)
    hessian = RetainedGraphHessian(((x @ weight - y) ** 2).mean(), [weight])
    expected = torch.linalg.eigvalsh(2.0 / 50.0 * x.T @ x).numpy()
    np.testing.assert_allclose(run(hessian, 12, tolerance=0.0).values, expected, rtol=1e-8)


def test_logistic_regression():
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(80, 10, generator=generator, dtype=torch.float64)
    y = (torch.rand(80, generator=generator) > 0.5).double()
    weight = random_start(10, seed=5).requires_grad_()
    loss = torch.nn.functional.binary_cross_entropy_with_logits(x @ weight, y)
    p = torch.sigmoid(x @ weight.detach())
    expected = torch.linalg.eigvalsh(x.T @ ((p * (1 - p))[:, None] * x) / 80.0).numpy()
    seen = run(RetainedGraphHessian(loss, [weight]), 10, tolerance=0.0)
    np.testing.assert_allclose(seen.values, expected, rtol=1e-8)


def test_rank_deficient_deep_linear_network_exhausts_the_krylov_space():
    generator = torch.Generator().manual_seed(6)
    x = torch.randn(3, 6, generator=generator, dtype=torch.float64)
    first = torch.randn(4, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    second = torch.randn(2, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    target = torch.randn(3, 2, generator=generator, dtype=torch.float64)
    loss = ((x @ first.T @ second.T - target) ** 2).sum()
    hessian = RetainedGraphHessian(loss, [first, second])
    dense = torch.stack([hessian(row) for row in torch.eye(32, dtype=torch.float64)])
    expected = torch.linalg.eigvalsh(dense)
    seen = run(hessian, 32, tolerance=0.0)
    assert seen.exhausted
    assert seen.steps < 32
    assert seen.largest == pytest.approx(float(expected[-1]), rel=1e-8)
    assert seen.smallest == pytest.approx(float(expected[0]), rel=1e-8)


def test_residual_intervals_hold_an_eigenvalue_and_both_ends_are_approached_from_within():
    spectrum = np.sort(np.random.default_rng(7).normal(size=60))
    operator = quadratic(spectrum)
    for steps in (2, 5, 10, 20):
        seen = run(operator, 60, iterations=steps, tolerance=0.0)
        distances = np.abs(spectrum[None, :] - seen.values[:, None]).min(axis=1)
        assert (distances <= seen.residuals + 1e-10).all()
        assert seen.largest <= spectrum[-1] + 1e-10
        assert seen.smallest >= spectrum[0] - 1e-10


@pytest.mark.parametrize("spectrum", [np.linspace(-1.0, 1.0, 30), np.linspace(-0.3, 1.0, 40)])
def test_weights_reproduce_the_moments_of_the_start_vector_to_the_last_digit(spectrum):
    operator = quadratic(spectrum)
    seen = run(operator, len(spectrum), iterations=6, tolerance=0.0)
    start = random_start(len(spectrum))
    power = start / start.norm()
    unit = power.clone()
    errors = []
    for degree in range(13):
        errors.append(abs(float(seen.weights @ seen.values**degree) - float(unit @ power)))
        power = operator(power)
    # Gauss quadrature with m nodes is exact up to degree 2m - 1, of values in [-1, 1] to rounding,
    assert max(errors[:12]) <= 1e-15
    # and not beyond.
    assert errors[12] > 1e-7


def test_deadline_stops_after_the_first_product():
    seen = run(quadratic(np.linspace(1.0, 2.0, 20)), 20, deadline=0.0)
    assert seen.steps == 1
    assert not seen.converged


def test_zero_start_gives_nothing():
    operator = quadratic([1.0, 2.0])
    zero = torch.zeros(2, dtype=torch.float64)
    assert lanczos(operator, zero, TorchVectors(torch.float64), iterations=2) is None


def test_the_basis_holds_the_top_eigenvector():
    spectrum = [*np.linspace(-1.0, 1.0, 20), 4.0]
    operator, basis = quadratic(spectrum), []
    seen = run(operator, 21, tolerance=1e-10, basis=basis)
    vector = sum(float(c) * q for c, q in zip(seen.top, basis, strict=False))
    assert float(vector.norm()) == pytest.approx(1.0, rel=1e-10)
    assert float((operator(vector) - 4.0 * vector).norm()) < 1e-8


def test_softmax_regression_is_the_kronecker_form():
    generator = torch.Generator().manual_seed(9)
    x = torch.randn(30, 4, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 3, (30,), generator=generator)
    weight = torch.randn(3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(x @ weight.T, labels)
    p = torch.softmax(x @ weight.detach().T, dim=1)
    exact = sum(
        torch.kron(torch.diag(pi) - torch.outer(pi, pi), torch.outer(xi, xi))
        for pi, xi in zip(p, x, strict=True)
    )
    expected = torch.linalg.eigvalsh(exact / 30.0)
    seen = run(RetainedGraphHessian(loss, [weight]), 12, tolerance=0.0)
    # Adding a constant to all logits changes nothing: four eigenvalues are zero, and one Krylov
    # space holds one vector of a subspace of equal eigenvalues.
    assert seen.steps in (8, 9)
    np.testing.assert_allclose(seen.values[-8:], expected[-8:], rtol=1e-8)


def test_a_spectrum_of_two_clusters_is_two_peaks_of_their_shares():
    spectrum = np.concatenate([np.linspace(0.99, 1.01, 60), np.linspace(9.9, 10.1, 20)])
    operator = quadratic(spectrum)
    space = TorchVectors(torch.float64)
    shares = []
    for seed in range(8):
        seen = lanczos(operator, random_start(80, seed), space, iterations=6, tolerance=0.0)
        near_one, near_ten = abs(seen.values - 1.0) < 0.02, abs(seen.values - 10.0) < 0.2
        # A node between the clusters may be left over from the search; it stands for nothing.
        assert float(seen.weights[near_one | near_ten].sum()) > 0.9999
        shares.append(float(seen.weights[near_ten].sum()))
    # A quarter of the eigenvalues; one vector's share of them has the deviation
    # sqrt(2 · 0.25 · 0.75 / 80) = 0.07, the mean of eight 0.024.
    assert float(np.mean(shares)) == pytest.approx(0.25, abs=0.08)


def diagonal(spectrum):
    values = torch.tensor(spectrum, dtype=torch.float64)
    return lambda vector: values * vector


def above_a_bulk(*outliers):
    return np.append(0.1 * np.random.default_rng(0).normal(size=400), outliers)


@pytest.mark.parametrize(
    ("second", "fewest"),
    # From a few starts in a hundred the second value converges before the first is seen at all.
    [(0.0, 40), (1.6, 40), (1.9, 38)],
)
def test_the_largest_of_a_pair_from_many_random_starts(second, fewest):
    spectrum = above_a_bulk(second, 2.0)
    right = 0
    for seed in range(40):
        start = random_start(len(spectrum), seed)
        seen = lanczos(
            diagonal(spectrum),
            start,
            TorchVectors(torch.float64),
            iterations=100,
            tolerance=1e-2,
            lower_end=False,
        )
        # What is certified holds for every start: a lower bound, and an eigenvalue within reach.
        assert seen.largest <= 2.0 + 1e-12
        assert np.abs(spectrum - seen.largest).min() <= seen.residuals[-1]
        assert seen.upper_converged
        right += seen.largest >= 0.99 * 2.0
    assert right >= fewest


def test_a_second_value_that_only_seems_to_converge_is_passed():
    # The start holds 15 % as much of the top eigenvector as of the second: times their distance of
    # 5 % that is a residual within the tolerance, until the first has grown.
    spectrum = np.append(np.linspace(-0.1, 0.1, 50), (1.9, 2.0))
    start = torch.full((52,), 0.02, dtype=torch.float64)
    start[-2:] = torch.tensor([1.0, 0.15], dtype=torch.float64)
    options = {"iterations": 100, "tolerance": 1e-2, "lower_end": False}
    space = TorchVectors(torch.float64)
    seen = lanczos(diagonal(spectrum), start, space, **options)
    assert seen.largest == pytest.approx(2.0, rel=1e-4)
    earlier = lanczos(diagonal(spectrum), start, space, **(options | {"iterations": 2}))
    # Where the tolerance alone would have stopped it: at the second value.
    assert earlier.upper_converged
    assert earlier.largest == pytest.approx(1.9, rel=3e-3)


def test_a_mixed_start_finds_an_eigenvector_that_the_gradient_is_orthogonal_to():
    spectrum = above_a_bulk(1.6, 2.0)
    gradient = torch.ones(len(spectrum), dtype=torch.float64)
    gradient[-1] = 0.0
    parameters = (torch.zeros(200), torch.zeros(len(spectrum) - 200))
    for seed in range(20):
        seen = lanczos(
            diagonal(spectrum),
            mixed_start(gradient, parameters, seed),
            TorchVectors(torch.float64),
            iterations=100,
            tolerance=1e-2,
            lower_end=False,
        )
        assert 0.99 * 2.0 <= seen.largest <= 2.0 + 1e-12
    # The gradient alone is always blind to it.
    alone = lanczos(diagonal(spectrum), gradient, TorchVectors(torch.float64), iterations=30)
    assert alone.largest == pytest.approx(1.6, rel=1e-6)


def test_a_mixed_start_sizes_blocks_like_the_gradient_and_leaves_none_out():
    gradient = torch.cat([torch.full((1000,), 3.0), torch.zeros(1000), torch.full((1000,), 1.0)])
    parameters = [torch.zeros(1000)] * 3
    start = mixed_start(gradient, parameters, 0)
    across = start - gradient * float(gradient @ start) / float(gradient @ gradient)
    large, none, small = (float(block.norm()) for block in across.split(1000))
    # The ratio of two norms of a thousand normal numbers is within 10 % of that of their sizes.
    assert large / small == pytest.approx(3.0, rel=0.1)
    assert 0.0 < none < small
    random = mixed_start(torch.zeros(3000), parameters, 0)
    assert float(random[:1000].norm()) == pytest.approx(float(random[1000:2000].norm()), rel=0.1)
