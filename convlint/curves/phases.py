"""Segments of the learning rate: steps at one rate, or along one smooth schedule."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from convlint.curves.facts import Phase

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Series = NDArray[np.float64]

JUMP = 0.2
"""A drop or a rise by this share from one value to the next, after and before hardly any change,
is a change of the rate and no schedule."""

SMOOTH = 0.3
"""Share of the jump that its neighbours may change by."""

WARMUP_RISES = 1
"""The first rise of a rate is its warm-up; later ones are restarts."""

RISE = 1.5
"""A rate that rose by this factor after having fallen was restarted."""


def phases(steps: Series, rates: Series) -> tuple[Phase, ...]:
    """Split a learning rate at its jumps. Values that are not positive and finite are left out."""
    usable = np.isfinite(rates) & (rates > 0.0)
    steps, rates = steps[usable], rates[usable]
    if not steps.size:
        return ()
    change = np.diff(np.log(rates))
    size = np.abs(change)
    before = np.concatenate([[0.0], size[:-1]])
    after = np.concatenate([size[1:], [0.0]])
    jumps = (size > JUMP) & (before < SMOOTH * size) & (after < SMOOTH * size)
    # Fast restarts jump up while the schedule goes on falling.
    jumps |= change > np.log(RISE) * 2.0
    cuts = [0, *(np.nonzero(jumps)[0] + 1).tolist(), steps.size]
    return tuple(
        Phase(float(steps[a]), float(steps[b - 1]), float(rates[a]), float(rates[b - 1]))
        for a, b in itertools.pairwise(cuts)
    )


def restarts(found: tuple[Phase, ...]) -> int:
    """How often the rate rose again, by ``RISE`` at least, after it had fallen."""
    levels = [rate for phase in found for rate in (phase.first, phase.last)]
    count, lowest, fallen = 0, np.inf, False
    highest = 0.0
    for level in levels:
        if level < highest / RISE:
            fallen = True
        if fallen and level > RISE * lowest:
            count, fallen, highest, lowest = count + 1, False, level, level
        highest, lowest = max(highest, level), min(lowest, level)
    return count
