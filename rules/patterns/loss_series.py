"""What the loss series of the short run shows, beside the class fitted to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.rules.patterns.figures import finite, middle
from convlint.rules.patterns.places import first_place

if TYPE_CHECKING:
    from convlint.gpu_probes.observations import Observations, Place

__all__ = ["first_and_last", "levels", "loss_place", "steps_observed"]

QUARTERS = 4
"""Levels are medians over quarters of the series: long enough to average noise away, short enough
to show where the run began and where it got to."""
ENDS = 3
"""Fewest steps behind the first and the last level: a median of three drops one odd batch."""


def steps_observed(seen: Observations) -> int:
    """Real steps whose loss is known."""
    return len(finite(seen.series.loss))


def levels(seen: Observations) -> tuple[float, ...]:
    """Median loss of each quarter of the series; empty with fewer than four losses a quarter."""
    losses = finite(seen.series.loss)
    size = len(losses) // QUARTERS
    if size < QUARTERS:
        return ()
    return tuple(
        middle(losses[-size:] if quarter == QUARTERS - 1 else losses[quarter * size :][:size])
        for quarter in range(QUARTERS)
    )


def first_and_last(seen: Observations) -> tuple[float, float] | None:
    """Median loss of the first and of the last tenth of the run (at least three steps each)."""
    losses = finite(seen.series.loss)
    width = max(ENDS, len(losses) // 10)
    if len(losses) < 2 * ENDS:
        return None
    return middle(losses[:width]), middle(losses[-width:])


def loss_place(seen: Observations) -> Place | None:
    """The line of the loss function, else that of an optimizer."""
    return first_place(
        [
            *(loss.place for loss in seen.losses if loss.back_propagated),
            *(use.place for use in seen.optimizers),
        ]
    )
