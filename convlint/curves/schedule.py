"""Learning-rate schedules by Robbins and Monro, and the noise floor a rate leaves.

Robbins and Monro (1951): Σηₜ = ∞ lets the parameters get anywhere, Ση² < ∞ lets the noise die out;
together they give almost sure convergence of stochastic gradient descent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

FEWEST_RATES = 20

CONSTANT = 0.01
"""A rate whose later half varies by less than this share is constant."""

DECIDED_FIT = 0.999
"""Share of the variance of ln η that a power law or a geometric decay must explain."""


@dataclass(frozen=True)
class RobbinsMonro:
    """Whether the sums of a schedule, carried on as it goes, diverge and converge as they should.

    ``kind`` is ``constant``, ``power`` (``decay`` is the exponent a of t⁻ᵃ), ``geometric``
    (``decay`` is the factor per step), ``ends`` (the rate is 0 at the end) or ``undetermined``,
    for which both answers are None. ``total`` is Ση over the steps given; ``left`` what a
    geometric decay adds after them, however long the run.
    """

    kind: str
    decay: float | None
    sum_diverges: bool | None
    squares_converge: bool | None
    total: float
    left: float | None = None

    @property
    def satisfied(self) -> bool | None:
        """Whether both conditions hold; None when that is not known."""
        if self.sum_diverges is None or self.squares_converge is None:
            return None
        return self.sum_diverges and self.squares_converge


def robbins_monro(rates: Sequence[float]) -> RobbinsMonro:
    """Judge the learning rates of steps 1, 2, …, as a scheduler stepped ahead gives them.

    The second half decides, past warm-up.

    Raises:
        ValueError: a rate is negative or not finite, or there is none.
    """
    values = np.asarray(rates, dtype=np.float64)
    if not values.size or not np.isfinite(values).all() or (values < 0.0).any():
        raise ValueError("learning rates are finite and not negative, and there is at least one")
    total = float(values.sum())
    late = values[values.size // 2 :]
    if values[-1] == 0.0:
        return RobbinsMonro("ends", None, False, True, total, 0.0)
    if values.size < FEWEST_RATES or (late <= 0.0).any():
        return RobbinsMonro("undetermined", None, None, None, total)
    if float(np.ptp(late)) <= CONSTANT * float(late.max()):
        return RobbinsMonro("constant", None, True, False, total)
    steps = np.arange(values.size - late.size + 1, values.size + 1, dtype=np.float64)
    logs = np.log(late)
    power, power_fit = _slope(np.log(steps), logs)
    geometric, geometric_fit = _slope(steps, logs)
    if geometric_fit > max(power_fit, DECIDED_FIT) and geometric < 0.0:
        factor = math.exp(geometric)
        left = float(values[-1]) * factor / (1.0 - factor)
        return RobbinsMonro("geometric", factor, False, True, total, left)
    if power_fit > DECIDED_FIT and power < 0.0:
        exponent = -power
        return RobbinsMonro("power", exponent, exponent <= 1.0 + 1e-3, exponent > 0.5, total)
    return RobbinsMonro("undetermined", None, None, None, total)


def _slope(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Least-squares slope, and the share of the variance it explains."""
    centred, target = x - x.mean(), y - y.mean()
    slope = float(centred @ target / (centred @ centred))
    residual = target - slope * centred
    return slope, 1.0 - float(residual @ residual) / max(float(target @ target), 1e-300)


def noise_floor(
    rate: float,
    gradient_variance: Sequence[float] | float,
    eigenvalues: Sequence[float] | float,
    *,
    momentum: float = 0.0,
) -> float:
    """Excess loss at which SGD at a constant ``rate`` stays on a quadratic.

    Per direction with eigenvalue λ and variance σ² of the mini-batch gradient, heavy-ball SGD has
    the stationary variance η σ² (1 + β) / (λ (1 − β)(2 (1 + β) − η λ)), hence the loss λ/2 times
    that; without momentum η σ² / (2 (2 − η λ)), about η σ² / 4. A scalar variance is the total
    over all directions, and with a scalar (the largest) eigenvalue the result is an upper bound.

    Infinite where the rate is not stable, η λ >= 2 (1 + β).

    Source: Mandt, Hoffman, Blei, Stochastic gradient descent as approximate Bayesian inference,
    JMLR 2017, for small rates; the exact second moments follow from the linear recursion.

    Raises:
        ValueError: the rate or a variance is negative, or the momentum is not in [0, 1).
    """
    variance = np.atleast_1d(np.asarray(gradient_variance, dtype=np.float64))
    curvature = np.atleast_1d(np.asarray(eigenvalues, dtype=np.float64))
    if rate < 0.0 or (variance < 0.0).any() or not 0.0 <= momentum < 1.0:
        raise ValueError("rate and variances are not negative, and momentum lies in [0, 1)")
    room = 2.0 * (1.0 + momentum) - rate * curvature
    if (room <= 0.0).any():
        return math.inf
    factor = rate * (1.0 + momentum) / (2.0 * (1.0 - momentum) * room)
    return float((factor * variance).sum())
