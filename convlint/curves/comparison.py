"""Training and validation side by side (Prechelt, Early Stopping — but when?, 1998)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from convlint.curves.facts import Pair
from convlint.curves.prechelt import (
    STRIP,
    generalisation_loss,
    progress_quotient,
    training_progress,
)
from convlint.curves.trend import noise_level, trend

if TYPE_CHECKING:
    from convlint.curves.facts import Curve
    from convlint.curves.recorder import RecordedCurve
    from convlint.curves.trend import Series as Values

MOST_EVALUATIONS = 400
"""Longer series are thinned to medians of blocks."""

FEWEST = 3


def compare(
    training: RecordedCurve, validation: RecordedCurve, curve: Curve, score: RecordedCurve | None
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
    loss = generalisation_loss(after) if lowest > 0.0 else np.empty(0)
    tail = float(np.median(values[-min(3, after.size) :]))
    return Pair(
        training=training.name,
        validation=validation.name,
        evaluations=int(finite.sum()),
        best=lowest,
        best_step=float(steps[best]),
        best_line=int(lines[best]),
        generalisation_loss=tuple(float(x) for x in loss),
        progress_quotient=tuple(
            progress_quotient(float(x), _progress(training, validation, steps, lines, best + k))
            for k, x in enumerate(loss)
        ),
        rise=tail - lowest,
        validation_noise=noise_level(values) if values.size >= 4 else None,
        p_rising=trend(after).p_rising if after.size >= FEWEST else 1.0,
        training_fell=_fell(training, validation, float(steps[best]), float(lines[best])),
        score=score.name if score is not None else "",
        score_best_step=_best_score_step(score, validation),
    )


def _progress(
    training: RecordedCurve, validation: RecordedCurve, steps: Values, lines: Values, at: int
) -> float:
    """Training progress over the strip that ends with evaluation ``at``; NaN without one."""
    same = training.axis == validation.axis
    counted, ends = (training.steps, steps) if same else (training.lines, lines)
    start = ends[at - STRIP] if at >= STRIP else -np.inf
    strip = training.values[(counted > start) & (counted <= ends[at])]
    strip = strip[np.isfinite(strip)]
    return training_progress(strip) if strip.size > 1 else float("nan")


def _fell(
    training: RecordedCurve, validation: RecordedCurve, step: float, line: float
) -> float | None:
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


def _best_score_step(score: RecordedCurve | None, validation: RecordedCurve) -> float | None:
    """Where the score was best, in the steps of the validation loss."""
    if score is None:
        return None
    finite = np.isfinite(score.values)
    if not finite.any():
        return None
    best = int(score.values[finite].argmax())
    if score.axis == validation.axis:
        return float(score.steps[finite][best])
    after = int(np.searchsorted(validation.lines, score.lines[finite][best], side="right"))
    return float(validation.steps[max(after - 1, 0)])
