"""Which learning rates make progress from where the script starts? (PROBES.md M10)

Two tests on recorded batches, both from the same parameters and with the script's own optimizer:
one step at each of many rates, judged on batches the step did not see; and a sweep that raises the
rate from step to step until the loss leaves (Smith 2017, "Cyclical Learning Rates for Training
Neural Networks", section 3.3).
"""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from typing import TYPE_CHECKING

import torch

from convlint.gpu_probes.horizon.swept_rates import (
    BELOW,
    bound_of,
    leaves,
    lowest,
    smoothed,
    steepest,
)
from convlint.gpu_probes.observations import LearningRateRange
from convlint.gpu_probes.tape import TapeUnavailable
from convlint.gpu_probes.tape.trajectory import Course, RecordedStep, replay

if TYPE_CHECKING:
    from collections.abc import Sequence

    from convlint.gpu_probes.tape.trajectory import Options, Start

RATES = 60
DECADES_BELOW, DECADES_ABOVE = 3.0, 3.0
"""The range tried around the rate in use."""

SUSTAINED = 3
"""Rates in a row at which the loss must stay above."""
FAR_AHEAD = 16.0
"""Times the rise by which it must, where the sweep ends: a loss that a large step threw up once
(Lewkowycz et al. 2020) may still come back. A rise and no multiple of the loss, which may be
anything: a constant in it, a likelihood's or a regulariser's, changes nothing."""


def learning_rate_range(
    start: Start,
    steps: Sequence[RecordedStep],
    held_out: Sequence[RecordedStep],
    *,
    in_use: float,
    deadline: float,
    rates: int = RATES,
) -> LearningRateRange | None:
    """Both tests, until ``deadline`` (``time.monotonic``); None when there was no time for any.

    ``steps`` are trained on (in turn, for the sweep), ``held_out`` only evaluated. ``in_use`` is the
    script's learning rate, around which the range lies.

    Raises:
        TapeUnavailable: a step cannot be replayed, or there is no finite loss to begin at.
    """
    decade = math.log10(in_use) - DECADES_BELOW
    spacing = (DECADES_BELOW + DECADES_ABOVE) / (rates - 1)
    tried = [10.0 ** (decade + spacing * k) for k in range(rates)]
    initial = [_evaluate(start, step) for step in held_out]
    first = sum(initial) / len(initial)
    if not math.isfinite(first):
        raise TapeUnavailable("the loss is not finite at the initial parameters")
    spread = math.sqrt(sum((x - first) ** 2 for x in initial) / max(1, len(initial) - 1))
    bound = bound_of(first, spread)

    now = time.monotonic()
    far = first + FAR_AHEAD * (bound - first)
    sweep = _sweep(start, steps, tried, far, now + (deadline - now) / 2)
    one_step: list[float | None] = []
    for rate in tried:
        if time.monotonic() >= deadline:
            break
        one_step.append(_after_one_step(start, steps[0], held_out, rate))
    if len(sweep) < SUSTAINED and len(one_step) < SUSTAINED:
        return None
    left, raises = leaves(tried, sweep, bound), _raises(tried, one_step, first)
    ends = [rate for rate in (left, raises) if rate is not None]
    diverges = min(ends, default=None)
    # A loss that comes down again from where it was thrown learns nothing.
    learning = len(tried) if diverges is None else bisect_left(tried, diverges)
    # A sweep that was cut short, or still learns at its last rate, does not say where it ends.
    learns_until = None if left is None else lowest(tried, sweep)
    return LearningRateRange(
        in_use=in_use,
        rates=tuple(tried),
        initial=first,
        bound=bound,
        one_step=tuple(one_step),
        sweep=tuple(x if math.isfinite(x) else None for x in sweep),
        best=_best(tried, one_step, first) if len(one_step) == len(tried) else None,
        steepest=steepest(tried[:learning], smoothed(sweep)[:learning]),
        diverges=diverges,
        suggested=None if learns_until is None else min([learns_until, *ends]) / BELOW,
    )


def _evaluate(start: Start, step: RecordedStep) -> float:
    """The loss of a recorded step at the start, unscaled."""
    values = {id(o): p for o, p in zip(start.originals, start.parameters, strict=True)}
    return _loss(step, values)


def _loss(step: RecordedStep, values: dict[int, torch.Tensor]) -> float:
    total = 0.0
    with torch.no_grad():
        for tape in step.tapes:
            parameters = [values.get(id(p), p) for p in tape.parameters]
            total += float(tape.loss(parameters).sum()) / step.loss_scale
    return total


def _after_one_step(
    start: Start, step: RecordedStep, held_out: Sequence[RecordedStep], rate: float
) -> float | None:
    """Mean loss of ``held_out`` after one step at ``rate`` on ``step``; None when not finite."""
    result = replay(start, [step], Course(options=_at([rate])))
    if not result.finite:
        return None
    values = {id(o): p for o, p in zip(start.originals, result.parameters, strict=True)}
    mean = sum(_loss(other, values) for other in held_out) / len(held_out)
    return mean if math.isfinite(mean) else None


def _sweep(
    start: Start,
    steps: Sequence[RecordedStep],
    tried: Sequence[float],
    far: float,
    deadline: float,
) -> list[float]:
    """The loss before each step, the rate rising from one to the next, until it stays above ``far``."""
    order = [steps[k % len(steps)] for k in range(len(tried))]
    above = 0

    def left(number: int, loss: float) -> bool:
        nonlocal above
        above = above + 1 if loss > far else 0
        return above >= SUSTAINED or time.monotonic() >= deadline

    return list(replay(start, order, Course(options=_at(tried)), until=left).losses)


def _at(rates: Sequence[float]) -> _Rates:
    return _Rates(rates)


class _Rates:
    """Every group's rate at step k, in the proportion the groups have among themselves."""

    def __init__(self, rates: Sequence[float]) -> None:
        self._rates = rates
        self._leading: float | None = None

    def __call__(self, step: int, group: int, recorded: Options) -> Options:
        own = float(recorded.get("lr") or 0.0)
        if group == 0:
            self._leading = own
        share = own / self._leading if self._leading else 1.0
        return {**recorded, "lr": self._rates[step] * share}


def _best(tried: Sequence[float], losses: Sequence[float | None], first: float) -> float | None:
    """The rate whose one step lowers the held-out loss most; None when none does."""
    found = [(loss, rate) for rate, loss in zip(tried, losses, strict=False) if loss is not None]
    if not found or min(found)[0] >= first:
        return None
    return min(found)[1]


def _raises(tried: Sequence[float], one_step: Sequence[float | None], first: float) -> float | None:
    """The rate from which on one step always raises the held-out loss.

    On a quadratic this is 2 gᵀg / gᵀHg, between two over the largest curvature and two over the
    mean one along the gradient.
    """
    lowest = len(one_step)
    while lowest:
        loss = one_step[lowest - 1]
        if loss is not None and loss <= first:
            break
        lowest -= 1
    return tried[lowest] if 0 < lowest < len(one_step) else None
