"""Noise, trend and periodicity of a short series, by rank and median statistics.

Losses of mini-batches have heavy tails and spikes, so nothing here rests on means of values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Series: TypeAlias = NDArray[np.float64]

MAD_TO_SIGMA = 1.4826
"""Standard deviation of a normal over its median absolute deviation, 1 / Φ⁻¹(3/4)."""

WINSORIZED = 2.5
"""Robust deviations to which larger second differences are cut down."""

ALTERNATES = 0.6
"""Noise of every second value over that of all, below which the series swings with period two; of
sixty values it is below that by chance in fewer than one case of a thousand."""


def noise_level(values: Series) -> float:
    """Standard deviation of the step-to-step noise, from second differences.

    A smooth curve nearly vanishes in second differences, while white noise is multiplied by √6;
    the median absolute deviation ignores spikes. Alternation with period 2 would pass for noise,
    so the even and odd subsequences are tried too and the smaller figure is kept. For a clean
    curved series the figure is an upper bound: its own curvature. 0 below four values.
    """
    if values.size < 4:
        return 0.0
    whole = second_difference_noise(values)
    if values.size < 12:
        return whole
    halves = [second_difference_noise(values[start::2]) for start in (0, 1)]
    return min(whole, float(np.mean(halves)))


def efficient_noise_level(values: Series) -> float:
    """The same deviation, from all second differences but the few beyond ``WINSORIZED`` deviations.

    The median uses little of the data: of sixty values it falls short by a third in one case of
    twenty, this one by a quarter. It is the larger one where the curve bends. 0 below four values.
    """
    if values.size < 4:
        return 0.0
    whole = _winsorized_noise(values)
    if values.size < 12:
        return whole
    halves = float(np.mean([_winsorized_noise(values[start::2]) for start in (0, 1)]))
    return halves if halves < ALTERNATES * whole else whole


def _winsorized_noise(values: Series) -> float:
    second = np.diff(values, 2)
    second = second - np.median(second)
    bound = WINSORIZED * MAD_TO_SIGMA * float(np.median(np.abs(second)))
    return math.sqrt(float(np.mean(np.clip(second, -bound, bound) ** 2)) / 6.0)


def second_difference_noise(values: Series) -> float:
    """The same, with alternation as noise."""
    second = np.diff(values, 2)
    return float(MAD_TO_SIGMA * np.median(np.abs(second - np.median(second))) / math.sqrt(6.0))


def running_median(values: Series, width: int) -> Series:
    """Median of ``width`` (odd) values around each; the series is mirrored at its ends."""
    half = width // 2
    padded = np.concatenate([values[half:0:-1], values, values[-2 : -half - 2 : -1]])
    medians: Series = np.median(np.lib.stride_tricks.sliding_window_view(padded, width), axis=1)
    return medians


def denoised(values: Series, width: int | None = None) -> tuple[Series, float]:
    """The series by running medians, and the standard deviation of the noise taken off.

    ``width`` is made odd; the default is a tenth of the series, at least three. Spikes leave no
    trace, steps stay sharp. Fewer than four values come back as they are.
    """
    if values.size < 4:
        return values, 0.0
    chosen = max(3, values.size // 10) if width is None else max(1, min(width, values.size - 1))
    return running_median(values, chosen + (chosen % 2 == 0)), noise_level(values)


def spread(values: Series) -> float:
    """Robust standard deviation about the median (interquartile range over 1.349)."""
    upper, lower = np.percentile(values, [75.0, 25.0])
    return float(upper - lower) / 1.349


@dataclass(frozen=True)
class Trend:
    """A robust straight line through a series: ``slope`` per step with its standard error.

    ``p_rising`` and ``p_falling`` are one-sided Mann-Kendall p-values.
    """

    slope: float
    error: float
    p_rising: float
    p_falling: float


def trend(values: Series) -> Trend:
    """Theil-Sen slope (Sen 1968) and Mann-Kendall test of ``values`` (at least three).

    The standard error is that of least squares with the robust residual spread, for an effective
    number of values reduced by positive lag-1 autocorrelation.
    """
    n = values.size
    steps = np.arange(n, dtype=np.float64)
    rows, columns = np.triu_indices(n, 1)
    differences = values[columns] - values[rows]
    slope = float(np.median(differences / (steps[columns] - steps[rows])))
    residual = values - slope * steps
    residual = residual - np.median(residual)
    correlation = min(max(lag_one_autocorrelation(residual), 0.0), 0.95)
    inflation = math.sqrt((1.0 + correlation) / (1.0 - correlation))
    error = spread(residual) * inflation * math.sqrt(12.0 / (n * (n * n - 1.0)))
    score = float(np.sign(differences).sum())
    variance = n * (n - 1.0) * (2.0 * n + 5.0) / 18.0 * inflation**2
    rising = _upper_tail((score - 1.0) / math.sqrt(variance))
    falling = _upper_tail((-score - 1.0) / math.sqrt(variance))
    return Trend(slope, error, rising, falling)


def lag_one_autocorrelation(values: Series) -> float:
    """Lag-1 autocorrelation about the mean; 0 for a constant series."""
    centred = values - values.mean()
    total = float(centred @ centred)
    return float(centred[1:] @ centred[:-1]) / total if total > 0.0 else 0.0


@dataclass(frozen=True)
class Oscillation:
    """The strongest periodic component of a detrended series.

    ``amplitude`` is that of the sinusoid, ``period`` in steps, ``p_value`` Fisher's for white
    noise, ``sustained`` whether the second half swings at least half as widely as the first.
    """

    amplitude: float
    period: float
    p_value: float
    sustained: bool


def oscillation(values: Series) -> Oscillation | None:
    """Fisher's g-test (1929) for one periodic component, on the residual of a cubic.

    Components with fewer than three periods in the series are trend, not oscillation. None
    for fewer than 16 values or a series that a cubic fits exactly.
    """
    n = values.size
    if n < 16:
        return None
    steps = np.linspace(-1.0, 1.0, n)
    residual = values - np.polynomial.Polynomial.fit(steps, values, 3)(steps)
    power = np.abs(np.fft.rfft(residual)) ** 2
    if n % 2 == 0:
        power[-1] /= 2.0  # The Nyquist frequency has one degree of freedom, the others two.
    power[:3] = 0.0
    total = float(power.sum())
    if not total > 1e-24 * float(np.abs(values).max()) ** 2:
        return None
    peak = int(power.argmax())
    share = float(power[peak]) / total
    frequencies = power.size - 3
    p_value = min(1.0, frequencies * (1.0 - share) ** (frequencies - 1))
    half = n // 2
    first, second = spread(residual[:half]), spread(residual[half:])
    amplitude = 2.0 * math.sqrt(float(power[peak])) / n
    if 2 * peak == n:
        amplitude /= math.sqrt(2.0)
    return Oscillation(amplitude, n / peak, p_value, sustained=second >= 0.5 * first)


def _upper_tail(z: float) -> float:
    return 0.5 * math.erfc(z / math.sqrt(2.0))
