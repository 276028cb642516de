"""Theorems hold for correct algorithms, and broken ones are caught."""

from __future__ import annotations

import math

import numpy as np
import pytest

from convlint.gpu_probes.classical.em import check_em
from convlint.gpu_probes.classical.kmeans import check_lloyd, lloyd
from convlint.gpu_probes.classical.monotone import first_fall, first_rise
from convlint.gpu_probes.classical.perceptron import breaks_bound, margin, perceptron


def separable(seed, gap=0.3, n=60, d=2):
    random = np.random.default_rng(seed)
    normal = random.normal(size=d)
    normal /= np.linalg.norm(normal)
    x = random.normal(size=(n, d))
    y = np.sign(x @ normal)
    return x + gap * y[:, None] * normal, y


class TestPerceptron:
    def test_the_margin_of_two_points(self):
        # y·x are (2, 0) and (0, 2)... their hull is nearest to the origin at (1, 1).
        seen = margin([[2.0, 0.0], [0.0, -2.0]], [1, -1], bias=False)
        assert seen.separable
        assert seen.high == pytest.approx(math.sqrt(2.0), rel=1e-3)
        assert seen.mistake_bound == pytest.approx(2.0, rel=1e-2)

    @pytest.mark.parametrize("seed", range(10))
    def test_mistakes_stay_within_the_bound(self, seed):
        x, y = separable(seed)
        seen, run = margin(x, y), perceptron(x, y)
        assert seen.separable is True
        assert run.converged
        assert 0 < run.mistakes <= seen.mistake_bound
        assert not breaks_bound(run.mistakes, seen)
        assert seen.low <= seen.high
        signed = np.hstack([x, np.ones((len(x), 1))]) * y[:, None]
        assert (signed @ seen.separator).min() == pytest.approx(seen.low)

    def test_more_mistakes_than_the_bound_are_a_bug(self):
        x, y = separable(0, gap=1.0)
        seen = margin(x, y)
        assert breaks_bound(int(seen.mistake_bound) + 1, seen)

    def test_data_that_cannot_be_separated_have_no_bound(self):
        x, y = [[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [1.0, 0.0]], [1, 1, -1, -1]
        seen = margin(x, y)
        assert seen.separable is not True
        assert seen.mistake_bound == math.inf
        assert not breaks_bound(10**9, seen)
        assert not perceptron(x, y, passes=50).converged

    @pytest.mark.parametrize(
        ("x", "y"), [([[1.0]], [0]), ([[1.0]], [1, 1]), ([1.0], [1]), ([[math.nan]], [1])]
    )
    def test_what_it_cannot_take(self, x, y):
        with pytest.raises(ValueError):
            margin(x, y)


class TestLloyd:
    def points(self, seed=0):
        random = np.random.default_rng(seed)
        return np.concatenate([random.normal(c, 0.5, size=(40, 2)) for c in (0.0, 4.0, 8.0)])

    @pytest.mark.parametrize("seed", range(5))
    def test_inertia_never_rises_and_the_run_ends(self, seed):
        x = self.points(seed)
        centres, assignments = lloyd(x, x[[0, 1, 2]])
        seen = check_lloyd(x, centres, assignments)
        assert seen.violation is None
        assert len(assignments) < 300
        assert seen.inertias[-1] < seen.inertias[0]
        assert len(seen.inertias) == 2 * len(assignments)

    def test_a_step_that_overshoots_the_means_is_caught(self):
        x = self.points()
        centres, assignments = lloyd(x, x[[0, 40, 80]])
        wrong = [centres[0], centres[0] + 3.0 * (centres[1] - centres[0])]
        seen = check_lloyd(x, wrong, assignments[:1])
        assert seen.violation is not None and seen.violation.step == 1

    def test_empty_clusters_are_counted(self):
        x = self.points()
        centres, assignments = lloyd(x, np.vstack([x[[0, 40]], [[1e6, 1e6]]]))
        assert check_lloyd(x, centres, assignments).empty == 1

    def test_histories_that_do_not_fit(self):
        with pytest.raises(ValueError, match="centres"):
            check_lloyd([[0.0]], [], [[0]])


class TestEm:
    def run(self, seed, broken=False):
        """Likelihoods and variances of a mixture of two normals in one dimension."""
        random = np.random.default_rng(seed)
        x = np.concatenate([random.normal(-2, 1, 100), random.normal(2, 0.5, 100)])
        means, variances, shares = np.array([-0.5, 0.5]), np.ones(2), np.full(2, 0.5)
        seen = []
        for _ in range(40):
            density = shares * np.exp(-0.5 * (x[:, None] - means) ** 2 / variances)
            density /= np.sqrt(2 * np.pi * variances)
            seen.append(float(np.log(density.sum(axis=1)).sum()))
            weights = density / density.sum(axis=1, keepdims=True)
            total = weights.sum(axis=0)
            means = (weights * x[:, None]).sum(axis=0) / total
            variances = (weights * (x[:, None] - means) ** 2).sum(axis=0) / total
            if broken:
                variances = (weights * (x[:, None] - means)).sum(
                    axis=0
                ) ** 2 / total + 0.1 * variances
            shares = total / x.size
        return seen, variances

    @pytest.mark.parametrize("seed", range(5))
    def test_the_likelihood_never_falls(self, seed):
        seen = check_em(self.run(seed)[0])
        assert seen.violation is None
        assert seen.gained is not None and seen.gained >= -1e-6

    def test_a_square_taken_outside_the_mean_is_caught(self):
        assert any(check_em(self.run(seed, broken=True)[0]).violation for seed in range(5))

    def test_rounding_of_float32_is_no_violation(self):
        values = [-1000.0, -990.0, -990.001]
        assert check_em(values).violation is not None
        assert check_em(values, dtype="float32").violation is None

    def test_collapsed_components(self):
        full = np.stack([np.eye(2), np.diag([1.0, 1e-9])])
        assert check_em([0.0], covariances=full, data_variance=1.0).collapsed == (1,)
        assert check_em([0.0], covariances=[1.0, 1e-9], data_variance=1.0).collapsed == (1,)
        with pytest.raises(ValueError):
            check_em([0.0], dtype="int8")


def test_the_first_wrong_step_is_told():
    seen = first_rise([3.0, 2.0, 2.5, 1.0], 0.0)
    assert seen is not None and (seen.step, seen.by) == (2, 0.5)
    assert first_rise([3.0, 3.0 + 1e-12], 1e-9) is None
    assert first_rise([1.0, math.nan], 1.0) is not None
    fall = first_fall([1.0, 2.0, 1.5], 0.0)
    assert fall is not None and (fall.before, fall.after) == (2.0, 1.5)
