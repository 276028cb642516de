"""Keeps a series of any length in bounded memory.

Up to 16,384 points are kept as they are. A longer series becomes that many blocks at most, each
with its mean, extremes and number of lost values; when they are too many, neighbours are joined.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convlint.curves.naming import Role

MOST_BLOCKS = 16_384

LARGEST = 1e100
"""A number beyond this counts as infinite, which it is about to be: what is computed squares it."""

STEP, LINE, MEAN, LOW, HIGH, LOST, COUNT = range(7)
"""Columns of the blocks: last step, first line, mean, lowest and highest finite value, number of
values that are not finite, number of values."""


@dataclass(frozen=True)
class RecordedCurve:
    """Rows of a ``Recorder`` sorted by step, each step once."""

    name: str
    role: Role
    blocks: NDArray[np.float64]
    axis: str
    repeated: int
    decreasing: int

    @property
    def steps(self) -> NDArray[np.float64]:
        """Steps, ascending."""
        return self.blocks[:, STEP]

    @property
    def lines(self) -> NDArray[np.float64]:
        """Line of each."""
        return self.blocks[:, LINE]

    @property
    def values(self) -> NDArray[np.float64]:
        """Means of the blocks; NaN where no value was finite."""
        return self.blocks[:, MEAN]


class Recorder:
    """Takes one value after the other; ``blocks`` has what is kept."""

    def __init__(self) -> None:
        self._steps, self._lines, self._values = array("d"), array("d"), array("d")
        self._blocks: NDArray[np.float64] = np.empty((0, 7))
        self._per = 1
        self.total = 0
        self.decreasing = 0
        self.repeated = 0
        self.nested = False
        """Whether the step went back, or stood still, where a coarser counter went on."""
        self._last_step = -np.inf

    def add(self, step: float, line: int, value: float) -> None:
        """Take a value; one that is not finite is counted as lost."""
        self._steps.append(step)
        self._lines.append(line)
        self._values.append(value)
        self.total += 1
        if step <= self._last_step:
            if step == self._last_step:
                self.repeated += 1
            else:
                self.decreasing += 1
        self._last_step = step
        if len(self._values) >= 4 * MOST_BLOCKS and len(self._values) % self._per == 0:
            self._settle()

    def blocks(self) -> NDArray[np.float64]:
        """Rows of seven columns, in order of arrival."""
        self._settle(whole=True)
        return self._blocks

    @property
    def per(self) -> int:
        """Values in a full block."""
        return self._per

    def _settle(self, *, whole: bool = False) -> None:
        steps, lines, values = (np.array(a) for a in (self._steps, self._lines, self._values))
        if not values.size:
            return
        for buffer in (self._steps, self._lines, self._values):
            del buffer[:]
        single = np.empty((values.size, 7))
        finite = np.abs(values) <= LARGEST
        single[:, STEP], single[:, LINE] = steps, lines
        for column in (MEAN, LOW, HIGH):
            single[:, column] = np.where(finite, values, np.nan)
        single[:, LOST], single[:, COUNT] = ~finite, 1.0
        self._blocks = np.concatenate([self._blocks, _joined(single, self._per)])
        while len(self._blocks) > MOST_BLOCKS:
            self._blocks = _joined(self._blocks, 2)
            self._per *= 2


def _joined(rows: NDArray[np.float64], per: int) -> NDArray[np.float64]:
    """Every ``per`` rows as one; what is left over at the end makes a shorter one."""
    if per == 1:
        return rows
    whole = len(rows) - len(rows) % per
    parts = [_merged(rows[:whole].reshape(-1, per, 7))] if whole else []
    if whole < len(rows):
        parts.append(_merged(rows[None, whole:]))
    return np.concatenate(parts)


def _merged(groups: NDArray[np.float64]) -> NDArray[np.float64]:
    joined = np.empty((groups.shape[0], 7))
    joined[:, STEP], joined[:, LINE] = groups[:, -1, STEP], groups[:, 0, LINE]
    finite = np.where(np.isfinite(groups[:, :, MEAN]), groups[:, :, COUNT] - groups[:, :, LOST], 0)
    total = finite.sum(axis=1)
    weighted = np.where(finite > 0, groups[:, :, MEAN] * finite, 0.0).sum(axis=1)
    joined[:, MEAN] = np.where(total > 0, weighted / np.maximum(total, 1), np.nan)
    lows = np.where(np.isnan(groups[:, :, LOW]), np.inf, groups[:, :, LOW]).min(axis=1)
    highs = np.where(np.isnan(groups[:, :, HIGH]), -np.inf, groups[:, :, HIGH]).max(axis=1)
    joined[:, LOW] = np.where(total > 0, lows, np.nan)
    joined[:, HIGH] = np.where(total > 0, highs, np.nan)
    joined[:, LOST] = groups[:, :, LOST].sum(axis=1)
    joined[:, COUNT] = groups[:, :, COUNT].sum(axis=1)
    return joined
