"""The five stopping criteria, their combinations, and what they say has converged.

A criterion answers one of four things: it holds, it does not, the noise of the series is too high
to tell (*undecidable*), or nothing was given to judge (*unknown*). Only what holds can stop a run.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from convlint.curves.trend import noise_level

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WINDOW = 20
"""Losses on each side of a comparison of noisy values."""

NOISE_SHARE = 0.05
"""A series whose noise is below this share of the change per step is taken as exact, and so is one
that only falls."""

FEWEST_NOISY = 16
"""Of fewer values that go up and down neither the noise nor a trend is known."""

RESOLVED = 0.01
"""Share of the level to which the fall of noisy losses must be known before patience can end."""

ERRORS = 2.0
"""Standard errors within which a change is not told from the tolerance."""


class Answer(enum.StrEnum):
    """What a criterion says."""

    HOLDS = "holds"
    FAILS = "does not hold"
    UNDECIDABLE = "undecidable at this noise"
    UNKNOWN = "unknown"


class Combine(enum.StrEnum):
    """Whether one criterion is enough or all of those with an answer must hold."""

    ANY = "any"
    ALL = "all"


@dataclass(frozen=True)
class Criterion:
    """One criterion: its ``value`` beside the ``tolerance`` it is compared with; ``error`` is the
    standard error of the value where noise was averaged away."""

    name: str
    answer: Answer
    value: float | None = None
    tolerance: float | None = None
    error: float | None = None

    @property
    def holds(self) -> bool:
        """Whether it holds for certain."""
        return self.answer is Answer.HOLDS


@dataclass(frozen=True)
class Converged:
    """Three notions that a flat valley keeps apart: the loss can stand still while the parameters
    drift, and both while the gradient does not vanish. None where nothing says."""

    loss: bool | None
    parameters: bool | None
    gradient: bool | None


LOSS_PLATEAU = "loss plateau"
GRADIENT_NORM = "gradient norm"
PARAMETER_CHANGE = "parameter change"
NO_IMPROVEMENT = "no improvement"
RELATIVE_IMPROVEMENT = "relative improvement"


def loss_plateau(losses: Sequence[float], tolerance: float = 1e-6) -> Criterion:
    """Whether |f_t − f_{t−1}| is at most ``tolerance``.

    Noisy losses are compared by the medians of the last two windows, per step between them.
    """
    return _compared(LOSS_PLATEAU, _change_per_step(losses), tolerance, both_ways=True)


def relative_improvement(losses: Sequence[float], tolerance: float = 1e-4) -> Criterion:
    """Whether (f_{t−1} − f_t) / |f_{t−1}| is at most ``tolerance``; a rise counts as none."""
    change = _change_per_step(losses)
    if change is None:
        return Criterion(RELATIVE_IMPROVEMENT, Answer.UNKNOWN, tolerance=tolerance)
    fall, error, level = change
    if level == 0.0:
        return Criterion(RELATIVE_IMPROVEMENT, Answer.HOLDS, 0.0, tolerance)
    relative = (fall / level, error / level, level)
    return _compared(RELATIVE_IMPROVEMENT, relative, tolerance, both_ways=False)


def gradient_norm(norm: float | None, tolerance: float = 1e-5) -> Criterion:
    """Whether the Euclidean norm of the (full) gradient is at most ``tolerance``."""
    return _below(GRADIENT_NORM, norm, tolerance)


def parameter_change(distance: float | None, tolerance: float = 1e-7) -> Criterion:
    """Whether the Euclidean distance between successive parameters is at most ``tolerance``."""
    return _below(PARAMETER_CHANGE, distance, tolerance)


def no_improvement(
    metric: Sequence[float], patience: int = 10, min_delta: float = 0.0, mode: str = "min"
) -> Criterion:
    """Whether the last ``patience`` evaluations brought no new best by more than ``min_delta``.

    ``value`` is the number of evaluations since the best one. Values that are not finite are no
    improvement.

    Raises:
        ValueError: ``mode`` is neither ``min`` nor ``max``, or patience is below 1.
    """
    if mode not in ("min", "max"):
        raise ValueError(f"mode is 'min' or 'max', not {mode!r}")
    if patience < 1:
        raise ValueError(f"patience is 1 or more, not {patience}")
    if not metric:
        return Criterion(NO_IMPROVEMENT, Answer.UNKNOWN, tolerance=float(patience))
    sign = 1.0 if mode == "min" else -1.0
    best, at = math.inf, -1
    for index, value in enumerate(metric):
        if math.isfinite(value) and sign * value < best - (min_delta if at >= 0 else 0.0):
            best, at = sign * value, index
    waited = len(metric) - 1 - at
    answer = Answer.HOLDS if waited >= patience else Answer.FAILS
    return Criterion(NO_IMPROVEMENT, answer, float(waited), float(patience))


def no_improvement_of_losses(
    losses: Sequence[float], patience: int = 10, min_delta: float = 0.0
) -> Criterion:
    """The same of training losses, which stand in for a metric.

    Among losses of mini-batches the best is the luckiest batch's, and a new one is rare though the
    run learns: patience ends only where they go up all the while, or where the medians of the last
    two stretches of ``patience`` losses are known to a percent and the later one is no lower.
    """
    plain = no_improvement(losses, patience, min_delta)
    if not plain.holds:
        return plain
    recent = np.asarray(losses[-2 * patience :], dtype=np.float64)
    if not np.isfinite(recent).all():
        return plain
    if (np.diff(recent[-patience - 1 :]) >= 0.0).all():
        return plain
    undecidable = replace(plain, answer=Answer.UNDECIDABLE)
    half = recent.size // 2
    if recent.size < FEWEST_NOISY:
        return undecidable
    before, after = recent[:half], recent[-half:]
    error = noise_level(recent) * math.sqrt(math.pi / half)
    if error > RESOLVED * abs(float(np.median(before))):
        return undecidable
    fall = float(np.median(before) - np.median(after))
    return plain if fall <= min_delta + ERRORS * error else replace(plain, answer=Answer.FAILS)


def combined(criteria: Iterable[Criterion], combine: Combine | str) -> bool:
    """Whether any, or all, of the criteria hold.

    Those that are unknown do not count; one that is undecidable does not hold, so under ``all`` it
    keeps the run going. Without any answer nothing holds.
    """
    known = [criterion for criterion in criteria if criterion.answer is not Answer.UNKNOWN]
    decide = any if Combine(combine) is Combine.ANY else all
    return bool(known) and decide(criterion.holds for criterion in known)


def converged(criteria: Iterable[Criterion]) -> Converged:
    """What the criteria say of the loss, of the parameters and of the gradient."""
    by_name = {criterion.name: criterion for criterion in criteria}

    def notion(*names: str) -> bool | None:
        known = [by_name[n] for n in names if n in by_name]
        known = [c for c in known if c.answer in (Answer.HOLDS, Answer.FAILS)]
        return any(criterion.holds for criterion in known) if known else None

    return Converged(
        loss=notion(LOSS_PLATEAU, RELATIVE_IMPROVEMENT),
        parameters=notion(PARAMETER_CHANGE),
        gradient=notion(GRADIENT_NORM),
    )


def _below(name: str, value: float | None, tolerance: float) -> Criterion:
    if value is None:
        return Criterion(name, Answer.UNKNOWN, tolerance=tolerance)
    holds = math.isfinite(value) and value <= tolerance
    return Criterion(name, Answer.HOLDS if holds else Answer.FAILS, value, tolerance)


def _change_per_step(losses: Sequence[float]) -> tuple[float, float, float] | None:
    """Fall per step with its standard error, and the level before; None without two finite losses.

    The error is 0 for a series that is exact beside its own changes.
    """
    recent = np.asarray(losses[-2 * WINDOW :], dtype=np.float64)
    if recent.size < 2 or not np.isfinite(recent).all():
        return None
    changes = np.diff(recent)
    enough = recent.size >= FEWEST_NOISY
    noise = noise_level(recent)
    exact = enough and noise <= NOISE_SHARE * float(np.median(np.abs(changes)))
    if exact or (changes <= 0.0).all():
        return -float(changes[-1]), 0.0, abs(float(recent[-2]))
    if not enough:
        return -float(changes[-1]), math.inf, abs(float(recent[-2]))
    half = recent.size // 2
    before, after = recent[:half], recent[-half:]
    distance = recent.size - half
    fall = float(np.median(before) - np.median(after)) / distance
    # The median of n normal values has π/2 times the variance of their mean.
    error = noise * math.sqrt(math.pi / half) / distance
    return fall, error, abs(float(np.median(before)))


def _compared(
    name: str, change: tuple[float, float, float] | None, tolerance: float, *, both_ways: bool
) -> Criterion:
    if change is None:
        return Criterion(name, Answer.UNKNOWN, tolerance=tolerance)
    value, error, _ = change
    size = abs(value) if both_ways else value
    # A noisy series that seems to rise has not settled either.
    if (abs(value) if error else size) + ERRORS * error <= tolerance:
        answer = Answer.HOLDS
    elif size - ERRORS * error > tolerance:
        answer = Answer.FAILS
    else:
        answer = Answer.UNDECIDABLE
    known = error if math.isfinite(error) else None
    return Criterion(name, answer, size, tolerance, known or None)
