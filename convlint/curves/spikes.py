"""Sudden rises of a loss that the steps before do not explain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from convlint.curves import recorder
from convlint.curves.facts import Spike
from convlint.curves.trend import second_difference_noise

if TYPE_CHECKING:
    from numpy.typing import NDArray

WINDOW = 15
"""Points whose median is the level a point is compared with."""

DEVIATIONS = 10.0
"""A spike stands out of the level by so many robust deviations of the points around it."""

FEWEST_POINTS = 30
MOST_SPIKES = 50


def spikes(blocks: NDArray[np.float64]) -> tuple[Spike, ...]:
    """The spikes of a recorded series, in order; one lasts until the loss is back."""
    usable = blocks[np.isfinite(blocks[:, recorder.MEAN])]
    values, peaks = usable[:, recorder.MEAN], usable[:, recorder.HIGH]
    n = values.size
    if n < FEWEST_POINTS:
        return ()
    # Each point is compared with those before it: a jump that heals slowly lifts a centred median.
    before = np.median(np.lib.stride_tricks.sliding_window_view(values, WINDOW), axis=1)[
        : n - WINDOW
    ]
    level = np.concatenate([np.full(WINDOW, np.inf), before])
    local = _local_noise(values)
    height = (peaks if usable[0, recorder.COUNT] == 1 else values) - level
    above = height > DEVIATIONS * np.maximum(local, 1e-12 * np.abs(values))
    start = float(np.median(values[: max(3, n // 20)]))
    found: list[Spike] = []
    index = WINDOW
    while index < n and len(found) < MOST_SPIKES:
        if not above[index]:
            index += 1
            continue
        calm = np.nonzero(values[index + 1 :] <= level[index] + 3.0 * local[index - 1])[0]
        end = index + 1 + int(calm[0]) if calm.size else n - 1
        top = index + int(values[index : end + 1].argmax())
        rise = float(values[top] - level[index])
        gained = start - float(level[index])
        found.append(
            Spike(
                step=float(usable[top, recorder.STEP]),
                line=int(usable[top, recorder.LINE]),
                height=rise,
                share=rise / gained if gained > 0.0 else None,
                recovery=float(usable[end, recorder.STEP] - usable[index, recorder.STEP])
                if calm.size
                else None,
            )
        )
        index = end + 1
    return tuple(found)


def _local_noise(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard deviation of the noise around each point, from second differences, which a trend
    does not enter. Alternation does: no second step is a spike."""
    around = max(FEWEST_POINTS, values.size // 20)
    starts = range(0, values.size, around)
    deviation = [second_difference_noise(values[max(0, k - around) : k + around]) for k in starts]
    return np.repeat(np.array(deviation), around)[: values.size]
