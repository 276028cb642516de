"""A series that must never rise, or never fall."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Violation:
    """The first step that went the wrong way: ``by`` how much, beside what rounding explains."""

    step: int
    before: float
    after: float
    by: float
    allowed: float


def first_rise(values: Sequence[float], tolerance: float) -> Violation | None:
    """The first value above the one before by more than ``tolerance`` times its size.

    A value that is not finite is a violation at once.
    """
    for step in range(1, len(values)):
        before, after = float(values[step - 1]), float(values[step])
        allowed = tolerance * abs(before)
        if not np.isfinite(after) or after - before > allowed:
            return Violation(step, before, after, after - before, allowed)
    return None


def first_fall(values: Sequence[float], tolerance: float) -> Violation | None:
    """The first value below the one before by more than ``tolerance`` times its size."""
    mirrored = first_rise([-float(value) for value in values], tolerance)
    if mirrored is None:
        return None
    return Violation(
        mirrored.step, -mirrored.before, -mirrored.after, mirrored.by, mirrored.allowed
    )
