"""Means with confidence intervals, and floats fit for `Observations`."""

from __future__ import annotations

import math
from typing import Final

from convlint.gpu_probes.observations import Measurement

# Two-sided 95 % quantiles of Student's t for 1 to 10 degrees of freedom (any statistics table);
# beyond that the Cornish-Fisher expansion is right to 1e-4.
_SMALL_SAMPLE: Final = (
    12.7062,
    4.3027,
    3.1824,
    2.7764,
    2.5706,
    2.4469,
    2.3646,
    2.3060,
    2.2622,
    2.2281,
)
_NORMAL: Final = 1.959963985


def finite_or_none(value: float) -> float | None:
    """``value``, or None when it is NaN or infinite (`Observations` holds finite floats only)."""
    return float(value) if math.isfinite(value) else None


def student_t(degrees_of_freedom: int) -> float:
    """Half-width of a 95 % interval in standard errors (Abramowitz and Stegun 26.7.5).

    Infinite without a degree of freedom.
    """
    if degrees_of_freedom < 1:
        return math.inf
    if degrees_of_freedom <= len(_SMALL_SAMPLE):
        return _SMALL_SAMPLE[degrees_of_freedom - 1]
    z = _NORMAL
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    n = degrees_of_freedom
    return z + first / n + second / n**2 + third / n**3


def measured_mean(
    mean: float, standard_error: float, samples: int, *, unit: str = "", note: str = ""
) -> Measurement:
    """A mean with its 95 % interval; no interval when the error is unknown or not finite."""
    value = finite_or_none(mean)
    half = student_t(samples - 1) * standard_error
    interval = (mean - half, mean + half) if value is not None and math.isfinite(half) else None
    if value is None and not note:
        note = "not finite"
    return Measurement(value, unit=unit, n=samples, ci=interval, note=note)
