"""Which update-to-weight ratios may be judged, and where their optimizer stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.rules.patterns.runs import is_weight, uses_line_search

if TYPE_CHECKING:
    from convlint.gpu_probes.observations import Observations, Place, UpdateRatio

__all__ = ["judged_updates", "optimizer_place"]

STEPS = 5
"""A ratio is a median over real steps; from fewer it is one step's chance."""


def judged_updates(seen: Observations) -> list[UpdateRatio]:
    """Ratios of weights that did not start at zero; none when a line search sets the step."""
    if uses_line_search(seen):
        return []
    return [
        update
        for update in seen.updates
        if is_weight(update.name, update.shape)
        and not update.zero_initialised
        and update.ratio.n >= STEPS
    ]


def optimizer_place(
    optimizer: int, seen: Observations, otherwise: Place | None = None
) -> Place | None:
    """The line that created the optimizer, else ``otherwise``."""
    for use in seen.optimizers:
        if use.id == optimizer and use.place is not None:
            return use.place
    return otherwise
