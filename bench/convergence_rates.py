"""How often the convergence class of a loss series is right, left open, or wrong.

    python bench/convergence_rates.py [--draws 10]

Fourteen families of known rate, 60 steps each, and BFGS beside them, with normal noise of 0 to 10 %
of their range. "Undetermined" is an answer; a wrong class is a fault. Exits with 1 when one class
is wrong at any noise, or when fewer than 95 % of the fourteen are decided at noise up to 1 %.

Newton's and quasi-Newton's methods arrive within a handful of steps: from 1 % of noise on, none of
their superlinear end stands above it, and no reading of the loss can tell.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

import numpy as np

from convlint.curves import convergence

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Series = NDArray[np.float64]

STEPS = 60
NOISES = (0.0, 1e-4, 1e-3, 1e-2, 3e-2, 1e-1)
"""Standard deviations, as shares of the range of the series."""

LOW_NOISE = 1e-2
DECIDED = 0.95

CONDITION = 50.0
"""Largest over smallest eigenvalue of the quadratics."""


def gradient_descent(spectrum: Series, start: Series, rate: float, momentum: float = 0.0) -> Series:
    """Loss of (heavy-ball) gradient descent on a diagonal quadratic."""
    losses, x, velocity = [], start.copy(), np.zeros_like(start)
    for _ in range(STEPS):
        losses.append(0.5 * float(np.sum(spectrum * x**2)))
        velocity = momentum * velocity - rate * spectrum * x
        x = x + velocity
    return np.array(losses)


def two_eigenvalues(optimizer: str) -> Series:
    """The classical best rates for eigenvalues m and L (Polyak 1964)."""
    largest, smallest = 1.0, 1.0 / CONDITION
    spectrum, start = np.array([smallest, largest]), np.ones(2)
    if optimizer == "gradient descent":
        return gradient_descent(spectrum, start, 2.0 / (largest + smallest))
    root = smallest**0.5
    return gradient_descent(
        spectrum, start, (2.0 / (1.0 + root)) ** 2, ((1.0 - root) / (1.0 + root)) ** 2
    )


def equal_energies(spectrum: Series) -> Series:
    """Gradient descent at 1/L from a start at which every direction adds the same to the loss."""
    return gradient_descent(spectrum, spectrum**-0.5, 1.0)


def decreasing_rate() -> Series:
    """Expected loss of SGD with unit gradient noise and the rate 2 / (t + 4), on x²/2."""
    losses, second_moment = [], 1.0
    for t in range(STEPS):
        losses.append(0.5 * second_moment)
        rate = 2.0 / (t + 4.0)
        second_moment = (1.0 - rate) ** 2 * second_moment + rate**2
    return np.array(losses)


class Logistic:
    """Regularised logistic regression on 200 points in five dimensions."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        self.x = random.normal(size=(200, 5))
        truth, noise = random.normal(size=5), random.normal(size=200)
        self.y = (self.x @ truth + noise > 0.0).astype(np.float64)
        self.decay = 1e-2
        self.start = 2.0 * np.random.default_rng(3).normal(size=5)

    def loss(self, w: Series) -> float:
        """Mean cross entropy and decay."""
        margins = self.x @ w
        fit = np.logaddexp(0.0, margins) - self.y * margins
        return float(np.mean(fit) + 0.5 * self.decay * w @ w)

    def gradient(self, w: Series) -> Series:
        """Its gradient."""
        return self.x.T @ (self._share(w) - self.y) / self.y.size + self.decay * w

    def hessian(self, w: Series) -> Series:
        """Its Hessian."""
        share = self._share(w)
        return (self.x.T * (share * (1.0 - share))) @ self.x / self.y.size + self.decay * np.eye(5)

    def _share(self, w: Series) -> Series:
        return 1.0 / (1.0 + np.exp(-self.x @ w))

    def line_search(self, w: Series, direction: Series) -> Series:
        """Halve the step until Armijo's condition holds."""
        slope, scale = float(self.gradient(w) @ direction), 1.0
        while self.loss(w + scale * direction) > self.loss(w) + 1e-4 * scale * slope:
            scale *= 0.5
            if scale < 1e-10:
                break
        return w + scale * direction


def newton() -> Series:
    """Newton's method with line search."""
    problem, losses = Logistic(), []
    w = problem.start
    for _ in range(STEPS):
        losses.append(problem.loss(w))
        w = problem.line_search(w, -np.linalg.solve(problem.hessian(w), problem.gradient(w)))
    return np.array(losses)


def bfgs() -> Series:
    """BFGS with line search (Nocedal and Wright 2006, equation 6.17)."""
    problem, losses = Logistic(), []
    w, inverse, one = problem.start, np.eye(5), np.eye(5)
    for _ in range(STEPS):
        losses.append(problem.loss(w))
        gradient = problem.gradient(w)
        moved = problem.line_search(w, -inverse @ gradient)
        s, y = moved - w, problem.gradient(moved) - gradient
        if y @ s > 1e-18:
            scale = 1.0 / (y @ s)
            left = one - scale * np.outer(s, y)
            inverse = left @ inverse @ left.T + scale * np.outer(s, s)
        w = moved
    return np.array(losses)


def families() -> dict[str, tuple[tuple[str, ...], Series]]:
    """Right classes and losses of the fourteen, by name."""
    k = np.arange(float(STEPS))
    linear, sublinear = ("linear",), ("sublinear",)
    indices = np.arange(1.0, 2001.0)
    return {
        "0.3 + 2·0.8ᵏ": (linear, 0.3 + 2.0 * 0.8**k),
        "2·0.9ᵏ": (linear, 2.0 * 0.9**k),
        "0.3 + 2·0.95ᵏ": (linear, 0.3 + 2.0 * 0.95**k),
        "gradient descent, κ = 50": (linear, two_eigenvalues("gradient descent")),
        "gradient descent at 1/L": (linear, equal_energies(np.array([0.02, 0.3, 1.0]))),
        "the same, 30 eigenvalues": (linear, equal_energies(np.geomspace(0.02, 1.0, 30))),
        "heavy ball, κ = 50": (linear, two_eigenvalues("heavy ball")),
        "2/√k": (sublinear, 2.0 * (k + 1.0) ** -0.5),
        "0.2 + 2/k": (sublinear, 0.2 + 2.0 / (k + 1.0)),
        "0.2 + 2/(k + 5)": (sublinear, 0.2 + 2.0 / (k + 5.0)),
        "0.2 + 2/(k + 3)²": (sublinear, 0.2 + 2.0 * (k + 3.0) ** -2.0),
        "spectrum i⁻²": (sublinear, gradient_descent(indices**-2.0, np.ones(2000), 1.0)),
        "SGD, rate 2/(k + 4)": (sublinear, decreasing_rate()),
        # Quadratic convergence is superlinear too.
        "Newton": (("quadratic", "superlinear"), newton()),
    }


def outcomes(right: tuple[str, ...], losses: Series, noise: float, draws: int) -> tuple[int, int]:
    """How many of ``draws`` are right and how many wrong."""
    seen = []
    for seed in range(draws):
        disturbance = np.random.default_rng([seed, 7]).normal(size=losses.size)
        seen.append(convergence(losses + noise * np.ptp(losses) * disturbance).rate_class)
        if not noise:
            seen *= draws
            break
    decided = [name for name in seen if name not in ("", "undetermined")]
    correct = sum(name in right for name in decided)
    return correct, len(decided) - correct


def table(
    rows: dict[str, tuple[tuple[str, ...], Series]],
    draws: int,
    say: Callable[[str], None] = print,
) -> tuple[dict[float, int], int]:
    """Right answers by noise over all ``rows``, and the number of wrong ones; each row is said."""
    right_by_noise, wrong = dict.fromkeys(NOISES, 0), 0
    for name, (right, losses) in rows.items():
        cells = []
        for noise in NOISES:
            correct, mistaken = outcomes(right, losses, noise, draws)
            right_by_noise[noise] += correct
            wrong += mistaken
            cells.append(f"{correct:3}/{draws - correct - mistaken:2}/{mistaken:2}")
        say(f"{name:26}" + "  ".join(cells))
    return right_by_noise, wrong


def main() -> int:
    """Print the table and what the bars say."""
    parser = argparse.ArgumentParser(
        description="Right / undetermined / wrong by family and noise."
    )
    parser.add_argument("--draws", type=int, default=10)
    draws = parser.parse_args().draws
    print("right/undetermined/wrong at noise (share of the range)")
    print(f"{'':26}" + "  ".join(f"{noise:>9.2%}" for noise in NOISES))
    fourteen = families()
    right, wrong = table(fourteen, draws)
    more_wrong = table({"BFGS": (("superlinear", "quadratic"), bfgs())}, draws)[1]
    total = draws * len(fourteen)
    print(f"{'decided of fourteen':26}" + "  ".join(f"{right[n] / total:>9.1%}" for n in NOISES))
    low = [noise for noise in NOISES if noise <= LOW_NOISE]
    share = sum(right[noise] for noise in low) / (total * len(low))
    print(
        f"decided at noise up to {LOW_NOISE:.0%}: {share:.1%}; wrong anywhere: {wrong + more_wrong}"
    )
    return int(share < DECIDED or wrong + more_wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
