"""Is one course better than another under the same conditions? Student's paired test.

SciPy has both functions; the interpreter that is probed need not have SciPy.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def student_t_tail(t: float, degrees_of_freedom: int) -> float:
    """P(T > t) for Student's t distribution (Abramowitz and Stegun 26.7.3 and 26.7.4).

    Raises:
        ValueError: no degree of freedom.
    """
    if degrees_of_freedom < 1:
        raise ValueError(f"{degrees_of_freedom} degrees of freedom")
    if math.isinf(t):
        return 0.0 if t > 0 else 1.0
    angle = math.atan(abs(t) / math.sqrt(degrees_of_freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees_of_freedom % 2
    term = cosine if odd else 1.0
    total = term if degrees_of_freedom > 1 else 0.0
    for k in range(3 if odd else 2, degrees_of_freedom - 1, 2):
        term *= cosine * cosine * (k - 1) / k
        total += term
    inside = 2.0 / math.pi * (angle + sine * total) if odd else sine * total
    tail = max(0.0, 0.5 * (1.0 - inside))
    return tail if t >= 0 else 1.0 - tail


def paired_tail(differences: Sequence[float]) -> float:
    """The one-sided probability of a mean this large when the true mean is zero (1 below two).

    Differences without any spread are decided by their sign.
    """
    if len(differences) < 2:
        return 1.0
    mean, error = mean_and_error(differences)
    if error == 0.0:
        return 0.0 if mean > 0.0 else 1.0
    return student_t_tail(mean / error, len(differences) - 1)


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean and its standard error (infinite for one value)."""
    count = len(values)
    mean = sum(values) / count
    if count < 2:
        return mean, math.inf
    variance = sum((value - mean) ** 2 for value in values) / (count - 1)
    return mean, math.sqrt(variance / count)


def holm(tails: Sequence[float]) -> list[float]:
    """The probabilities corrected for being several (Holm 1979), in the order given."""
    order = sorted(range(len(tails)), key=lambda k: tails[k])
    corrected, largest = [1.0] * len(tails), 0.0
    for rank, k in enumerate(order):
        largest = max(largest, min(1.0, (len(tails) - rank) * tails[k]))
        corrected[k] = largest
    return corrected
