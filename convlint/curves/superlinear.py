"""Superlinear and quadratic convergence, read off the decrements of a loss or off gradient norms.

A handful of steps ends such a run at rounding error, which leaves nothing to fit a curve to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from convlint.curves.trend import noise_level

if TYPE_CHECKING:
    from convlint.curves.trend import Series

ROUNDING = 64.0 * float(np.finfo(np.float64).eps)
"""Relative size of decrements that are rounding error."""

ABOVE_NOISE = 2.0
"""Decrements count down to this many noise deviations; the error of each is reckoned with."""

CERTAIN = 2.0
"""Standard errors by which the last logarithmic decrement must exceed its bounds."""

FEWEST_DECREMENTS = 4

GROWTH = 1.5
"""The last three logarithmic decrements exceed the earlier ones by this factor in the mean."""

LEAST_LAST = 1.0
"""The last one means a decrement divided by e at least."""

DOUBLING = (1.85, 2.15)
"""Ratio of logarithmic decrements in quadratic convergence; a laxer band takes BFGS for Newton."""

NORM_ABOVE_NOISE = 3.0
NORM_ABOVE_END = NORM_ABOVE_NOISE / 0.6745
"""Gradient norms count down to this many noise deviations, and to this many times the level at
which they end: one that settles above zero belongs to a noise ball, and of one that vanishes the
noise is left, folded at zero, the median of which is 0.67 deviations."""


@dataclass(frozen=True)
class Acceleration:
    """Decrements that shrink ever faster: ``order`` is the growth of their logarithms."""

    quadratic: bool
    order: float
    n: int


def acceleration(values: Series, noise: float) -> Acceleration | None:
    """How the logarithmic decrements grow; None when they do not, or when noise hides it.

    With d_k = f_k − f_{k+1}, linear convergence has constant c_k = ln(d_k / d_{k+1}), sublinear a
    shrinking one, superlinear a growing one and quadratic one that doubles.
    """
    decrements = -np.diff(values)
    # A curve this steep has large second differences of its own, which are no noise; once it has
    # arrived, what still moves is.
    arrived = float(np.abs(decrements[-max(3, decrements.size // 4) :]).max())
    deviation = min(noise, arrived)
    floor = np.maximum(ROUNDING * np.abs(values[:-1]), ABOVE_NOISE * deviation)
    below = np.nonzero(decrements <= floor)[0]
    usable = decrements[: below[0]] if below.size else decrements
    logs = -np.diff(np.log(usable)) if usable.size > 1 else np.empty(0)
    if logs.size < FEWEST_DECREMENTS:
        return None
    last, before = logs[-3:], logs[:-3]
    # f_{k+1} enters both decrements.
    inverse = 1.0 / usable
    error = deviation * float(
        np.sqrt(inverse[-2] ** 2 + (inverse[-2] + inverse[-1]) ** 2 + inverse[-1] ** 2)
    )
    surely = float(last[-1]) - CERTAIN * error
    grows = float(last.mean()) > GROWTH * max(float(np.median(before)), 0.0)
    if not (bool((last > 0.5).all()) and grows and surely > max(LEAST_LAST, float(last[0]))):
        return None
    doubling = (logs[1:] / logs[:-1])[-3:]
    quadratic = bool(((doubling >= DOUBLING[0]) & (doubling <= DOUBLING[1])).all())
    return Acceleration(quadratic, float(np.median(doubling)), logs.size)


def acceleration_of_norms(norms: Series) -> Acceleration | None:
    """How the logarithmic decrements of gradient norms grow; None when they do not.

    Their limit is zero, so c_k = ln(g_k / g_{k+1}) needs no difference of neighbours, and an error
    of e in the loss shows as √e here: one more step of Newton's method stands above the noise.
    Asked of every step between the first and the one where the norms vanish in noise: the last
    three c_k grow, and the last exceeds the one before by ``GROWTH`` with certainty.
    """
    arrived = norms[-max(3, norms.size // 4) :]
    noise = min(noise_level(norms), float(np.abs(np.diff(arrived)).max()))
    floor = max(
        NORM_ABOVE_NOISE * noise,
        NORM_ABOVE_END * float(np.median(arrived)),
        ROUNDING * float(norms.max()),
    )
    below = np.nonzero(norms <= floor)[0]
    # Norms that never reach their floor, or leave it again by more than noise does, have not arrived.
    if not below.size or bool((norms[below[0] :] > 2.0 * floor).any()):
        return None
    usable = norms[: below[0]]
    logs = -np.diff(np.log(usable)) if usable.size > 1 else np.empty(0)
    if logs.size < FEWEST_DECREMENTS:
        return None
    error = noise * float(np.hypot(1.0 / usable[-1], 1.0 / usable[-2]))
    surely = float(logs[-1]) - CERTAIN * error
    growing = bool((np.diff(logs[-3:]) > 0.0).all())
    if not (growing and surely > max(LEAST_LAST, GROWTH**2 * float(logs[-3]))):
        return None
    doubling = (logs[1:] / logs[:-1])[-3:]
    quadratic = bool(((doubling >= DOUBLING[0]) & (doubling <= DOUBLING[1])).all())
    return Acceleration(quadratic, float(np.median(doubling)), logs.size)
