"""Where a loss stands still, and what kind of standing still it is."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import numpy as np

from convlint.curves.course import plateau
from convlint.curves.trend import spread

if TYPE_CHECKING:
    from collections.abc import Sequence

AT_BASELINE = 0.03
"""Within this share of the loss of a constant prediction."""

SMALL_GRADIENT = 0.05
"""Share of the largest gradient norm below which the gradient has all but vanished."""

DECAYED_RATE = 0.05
"""Share of the highest learning rate below which steps are too short to leave a plateau."""


class Standing(enum.StrEnum):
    """Kinds of standing still."""

    MOVING = "moving"
    TRIVIAL_PREDICTOR = "at a trivial predictor"
    """As good as a constant prediction, which is no convergence."""
    SADDLE = "at a saddle"
    """Hardly any gradient, and a direction in which the loss curves downwards."""
    PREMATURE = "stopped by the learning rate"
    """The rate has decayed while the gradient has not."""
    CONVERGED = "converged"
    """Hardly any gradient, and no downward curvature known of."""
    PLATEAU = "on a plateau"
    """Flat; the gradients were not given, or have not vanished."""


def standing(
    losses: Sequence[float],
    *,
    gradient_norms: Sequence[float] | None = None,
    learning_rates: Sequence[float] | None = None,
    lowest_eigenvalue: float | None = None,
    baseline: float | None = None,
) -> Standing:
    """What kind of standing still the end of a run is.

    One entry per step in each series. ``lowest_eigenvalue`` is that of the Hessian at the end
    (significantly negative, or else 0 or above), ``baseline`` the loss of a constant prediction.
    Noise hides movement: a loss that may still fall is ``moving``.
    """
    values = np.asarray(losses, dtype=np.float64)
    values = values[np.isfinite(values)]
    if values.size < 10:
        return Standing.MOVING
    steps = np.arange(values.size, dtype=np.float64)
    flat = plateau(values, steps, steps)
    if flat is None:
        return Standing.MOVING
    near = (
        max(AT_BASELINE * abs(baseline), 2.0 * spread(values[int(flat.start) :]))
        if baseline
        else 0.0
    )
    if baseline is not None and abs(flat.level - baseline) <= near:
        return Standing.TRIVIAL_PREDICTOR
    vanished = _ends_below(gradient_norms, SMALL_GRADIENT)
    if vanished and lowest_eigenvalue is not None and lowest_eigenvalue < 0.0:
        return Standing.SADDLE
    if vanished:
        return Standing.CONVERGED
    if vanished is False and _ends_below(learning_rates, DECAYED_RATE):
        return Standing.PREMATURE
    return Standing.PLATEAU


def _ends_below(series: Sequence[float] | None, share: float) -> bool | None:
    """Whether the last tenth lies below ``share`` of the highest value; None without values."""
    if series is None:
        return None
    values = np.asarray(series, dtype=np.float64)
    values = values[np.isfinite(values)]
    if values.size < 10:
        return None
    return bool(np.median(values[-max(3, values.size // 10) :]) <= share * values.max())
