"""Losses that take turns under one name: several tasks, two networks, batches in a fixed order.

Such a series swings with a short whole period, as a loss does whose steps are too long for the
curvature. The two are told apart by how the swing begins. A bounce starts from one loss and grows,
its upper half above where it began; losses of different things lie apart from the first step on,
keep their order, or cross once and slowly. A bounce that is there from the first value on, of even
height, looks the same: what it is stays open then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from convlint.curves.trend import second_difference_noise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convlint.curves.trend import Series

PERIODS = (2, 3, 4)

FEWEST_TURNS = 10

IN_ORDER = 0.95
"""Share of the turns in which the highest level stands above the lowest; a bounce under noise slips."""

FAR_IN_NOISE = 3.0
FAR = 0.05
"""Levels are apart by so many noise deviations of each, by this share of the whole range, of which a
steep fall alone leaves less, and by this share of the loss."""

CALM_STEPS = 6
GROWN = 0.5
"""A swing has grown that was less than this share of the rest over so many steps near the start,
where the fall from the first loss may hide it for a while; and the levels of a crossing lie closer
to one another than this share of their usual distance."""

AROUND = 3
"""Turns to either side that are the time of a crossing."""


def turns_of(values: Series) -> tuple[Series, ...]:
    """The series that take turns in ``values``, in order; empty where it is one series."""
    for period in PERIODS:
        gaps = _gaps(values, period)
        if gaps is None:
            continue
        parts = tuple(values[start::period] for start in range(period))
        noise = max(second_difference_noise(part) for part in parts)
        low, high = np.percentile(values, [5.0, 95.0])
        far = max(
            FAR_IN_NOISE * noise, FAR * float(high - low), FAR * abs(float(np.median(values)))
        )
        if float(np.median(np.abs(gaps))) > far and _in_order(gaps, noise):
            return parts
    return ()


def bounces(values: Series, parts: tuple[Series, ...]) -> bool:
    """Whether what takes turns is one loss that steps too long throw up and down: calm once near its
    start, swinging ever since, one of the levels above where it was then."""
    period = len(parts)
    height = np.abs(_swing(values, period))
    start = height[: max(2 * CALM_STEPS, height.size // 10)]
    windows = np.median(np.lib.stride_tricks.sliding_window_view(start, CALM_STEPS), axis=1)
    calmest = int(windows.argmin())
    if float(windows[calmest]) >= GROWN * _middle(height[calmest + CALM_STEPS :]):
        return False
    begin = calmest + period // 2
    for phase, part in enumerate(parts):
        calm = part[-(-(begin - phase) // period) : -(-(begin + CALM_STEPS - phase) // period)]
        if _middle(part) - _middle(calm) > FAR_IN_NOISE * second_difference_noise(part):
            return True
    return False


def _middle(values: Series) -> float:
    return float(np.median(values))


def _in_order(gaps: Series, noise: float) -> bool:
    """Whether one level stays above the other, or they cross once by coming close."""
    clear = np.nonzero(np.abs(gaps) > 2.0 * noise)[0]
    above = gaps[clear] > 0.0
    if clear.size < FEWEST_TURNS or float(above.mean()) >= IN_ORDER:
        return clear.size >= FEWEST_TURNS
    # How many keep to one order up to each turn, and to the other from there on.
    kept: NDArray[np.int_] = np.cumsum(above) + np.sum(~above) - np.cumsum(~above)
    kept = np.maximum(kept, clear.size - kept)
    at = int(kept.argmax())
    crossing = int(clear[at])
    near = np.abs(gaps[max(0, crossing - AROUND) : crossing + AROUND + 1])
    close = _middle(near) < GROWN * _middle(np.abs(gaps))
    return bool(kept[at] >= IN_ORDER * clear.size and close)


def _gaps(values: Series, period: int) -> Series | None:
    """Highest level less lowest in each turn, the trend taken off; None for too few turns."""
    if (values.size - period) // period < FEWEST_TURNS:
        return None
    swing = _swing(values, period)
    swing = swing[: swing.size - swing.size % period].reshape(-1, period)
    levels = np.median(swing, axis=0)
    gaps: Series = swing[:, int(levels.argmax())] - swing[:, int(levels.argmin())]
    return gaps


def _swing(values: Series, period: int) -> Series:
    """What a moving mean over one period, which knows no swing of that period, leaves."""
    weights = np.ones(period) / period
    if period % 2 == 0:
        weights = np.concatenate([[0.5], np.ones(period - 1), [0.5]]) / period
    half = weights.size // 2
    return np.asarray(values[half : values.size - half] - np.convolve(values, weights, "valid"))
