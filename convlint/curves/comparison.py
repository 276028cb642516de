"""Training and validation side by side (Prechelt, Early Stopping — but when?, 1998)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from convlint.curves.facts import Pair
from convlint.curves.trend import noise_level, trend

if TYPE_CHECKING:
    from convlint.curves.assemble import Series
    from convlint.curves.facts import Curve

MOST_EVALUATIONS = 400
"""Longer series are thinned to medians of blocks."""

FEWEST = 3


def compare(
    training: Series, validation: Series, curve: Curve, score: Series | None
) -> Pair | None:
    """What the validation loss does while the training loss goes on; None for too few values."""
    finite = np.isfinite(validation.values)
    values, steps = validation.values[finite], validation.steps[finite]
    lines = validation.lines[finite]
    if values.size < FEWEST:
        return None
    per = -(-values.size // MOST_EVALUATIONS)
    if per > 1:
        whole = values.size - values.size % per
        values = np.median(values[:whole].reshape(-1, per), axis=1)
        steps = steps[:whole].reshape(-1, per)[:, 0]
        lines = lines[:whole].reshape(-1, per)[:, 0]
    best = int(values.argmin())
    lowest = float(values[best])
    after = values[best:]
    loss = 100.0 * (after / lowest - 1.0) if lowest > 0.0 else np.empty(0)
    tail = float(np.median(values[-min(3, after.size) :]))
    return Pair(
        training=training.name,
        validation=validation.name,
        evaluations=int(finite.sum()),
        best=lowest,
        best_step=float(steps[best]),
        best_line=int(lines[best]),
        generalisation_loss=tuple(float(x) for x in loss),
        rise=tail - lowest,
        validation_noise=noise_level(values) if values.size >= 4 else None,
        p_rising=trend(after).p_rising if after.size >= FEWEST else 1.0,
        training_fell=_fell(training, validation, float(steps[best]), float(lines[best])),
        score=score.name if score is not None else "",
        score_best_step=_best_score_step(score),
    )


def _fell(training: Series, validation: Series, step: float, line: float) -> float | None:
    """How far training fell since the best validation; by lines where they count differently."""
    finite = np.isfinite(training.values)
    values = training.values[finite]
    same = training.axis == validation.axis
    after = training.steps[finite] >= step if same else training.lines[finite] >= line
    late = values[after]
    if late.size < 2:
        return None
    width = max(1, late.size // 4)
    return float(np.median(late[:width]) - np.median(late[-width:]))


def _best_score_step(score: Series | None) -> float | None:
    if score is None:
        return None
    finite = np.isfinite(score.values)
    if not finite.any():
        return None
    return float(score.steps[finite][score.values[finite].argmax()])
