"""Scales of plots: where a value lies between two ends, and at which values an axis is labelled."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convlint.report.text import format_number

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_TICKS = 6
"""More labels than this touch each other at the width of a phone."""

NARROW_DECADES = 1.7
"""A logarithmic axis shorter than this has labels between the powers of ten."""

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Scale:
    """Maps ``low`` … ``high`` to 0 … 1, linearly or by the logarithm."""

    low: float
    high: float
    log: bool = False

    def share(self, value: float) -> float:
        """Where ``value`` lies, as a share of the axis; outside it is below 0 or above 1."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def shows(self, value: float | None) -> bool:
        """Whether the axis has a place for ``value``."""
        return value is not None and math.isfinite(value) and (value > 0 or not self.log)

    def ticks(self) -> list[float]:
        """The values to label, in rising order: at most ``MOST_TICKS``."""
        return _log_ticks(self.low, self.high) if self.log else _linear_ticks(self.low, self.high)


def scale_for(values: Iterable[float | None], *, log: bool = False, pad: float = 0.04) -> Scale:
    """A scale on which all finite ``values`` lie, with a margin of ``pad`` of it on either side."""
    kept = [v for v in values if v is not None and math.isfinite(v) and (v > 0 or not log)]
    if not kept:
        return Scale(1.0, 10.0, log) if log else Scale(0.0, 1.0)
    low, high = min(kept), max(kept)
    if log:
        margin = max(math.log(high / low) * pad, 0.05)
        return Scale(low / math.exp(margin), high * math.exp(margin), True)
    if high == low:
        margin = abs(high) * 0.1 or 1.0
        return Scale(low - margin, high + margin)
    margin = (high - low) * pad
    return Scale(low - margin, high + margin)


def tick_label(value: float) -> str:
    """``0.05``, ``1200``, and ``10⁻⁶`` or ``2·10⁻⁶`` for what has no short form."""
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return format_number(value)
    mantissa, exponent = f"{value:.1e}".split("e")
    power = "10" + str(int(exponent)).translate(_SUPERSCRIPTS)
    mantissa = mantissa.removesuffix(".0")
    return power if mantissa == "1" else f"{mantissa}·{power}"


def _linear_ticks(low: float, high: float) -> list[float]:
    rough = (high - low) / (MOST_TICKS - 1)
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(
        (k * magnitude for k in (1.0, 2.0, 5.0) if k * magnitude >= rough), 10.0 * magnitude
    )
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [0.0 if k == 0 else k * step for k in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    decades = math.log10(high / low)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    if decades < NARROW_DECADES:
        between = [k * 10.0**e for e in range(first, last + 1) for k in (1.0, 2.0, 5.0)]
        inside = [tick for tick in between if low <= tick <= high]
        return inside if len(inside) > 1 else _linear_ticks(low, high)
    stride = max(1, math.ceil(decades / (MOST_TICKS - 1)))
    return [10.0**e for e in range(first, last + 1, stride) if low <= 10.0**e <= high]
