"""Which learning rates make progress from where the script starts? (PROBES.md M10)

Two tests on recorded batches, both from the same parameters and with the script's own optimizer:
one step at each of many rates, judged on batches the step did not see; and a sweep that raises the
rate from step to step until the loss leaves (Smith 2017, "Cyclical Learning Rates for Training
Neural Networks", section 3.3).
"""

from __future__ import annotations

import math
import time
from statistics import median
from typing import TYPE_CHECKING

import torch

from convlint.gpu_probes.observations import LearningRateRange
from convlint.gpu_probes.tape import TapeUnavailable
from convlint.gpu_probes.tape.trajectory import Course, RecordedStep, replay

if TYPE_CHECKING:
    from collections.abc import Sequence

    from convlint.gpu_probes.tape.trajectory import Options, Start

RATES = 60
DECADES_BELOW, DECADES_ABOVE = 3.0, 3.0
"""The range tried around the rate in use."""

SMOOTHING = 0.9
"""Weight of the past in the mean of a sweep. Larger ones lag by more than the few dozen steps a
sweep has."""

DIVERGED_SIGMAS = 4.0
"""Standard deviations between batches at the start by which a loss must rise to have left."""
DIVERGED_SHARE = 0.25
"""And by this share of the first loss, where one batch is like the other."""
SUSTAINED = 3
"""Rates in a row at which the loss must stay above."""
FAR_AHEAD = 16.0
"""Times the rise by which it must, where the sweep ends: a loss that a large step threw up once
(Lewkowycz et al. 2020) may still come back. A rise and no multiple of the loss, which may be
anything: a constant in it, a likelihood's or a regulariser's, changes nothing."""

HALF_WINDOW = 2
"""Rates to either side of the one at which a slope is fitted or a median taken: half a decade."""

BELOW = 3.0
"""A rate is suggested this factor below where a sweep learns no more."""


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
    bound = first + max(DIVERGED_SIGMAS * spread, DIVERGED_SHARE * abs(first))

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
    leaves, raises = _diverges(tried, sweep, bound), _raises(tried, one_step, first)
    ends = [rate for rate in (leaves, raises) if rate is not None]
    # A sweep that was cut short, or still learns at its last rate, does not say where it ends.
    lowest = None if leaves is None else _lowest(tried, sweep)
    return LearningRateRange(
        in_use=in_use,
        rates=tuple(tried),
        initial=first,
        bound=bound,
        one_step=tuple(one_step),
        sweep=tuple(x if math.isfinite(x) else None for x in sweep),
        best=_best(tried, one_step, first) if len(one_step) == len(tried) else None,
        steepest=_steepest(tried, smoothed(sweep)),
        diverges=min(ends, default=None),
        suggested=None if lowest is None else min([lowest, *ends]) / BELOW,
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


def smoothed(losses: Sequence[float]) -> list[float]:
    """Exponential mean, corrected for its start; what is not finite stays so."""
    mean, smooth = 0.0, []
    for number, loss in enumerate(losses, 1):
        mean = SMOOTHING * mean + (1.0 - SMOOTHING) * loss
        smooth.append(mean / (1.0 - SMOOTHING**number))
    return smooth


def _best(tried: Sequence[float], losses: Sequence[float | None], first: float) -> float | None:
    """The rate whose one step lowers the held-out loss most; None when none does."""
    found = [(loss, rate) for rate, loss in zip(tried, losses, strict=False) if loss is not None]
    if not found or min(found)[0] >= first:
        return None
    return min(found)[1]


def slopes(smooth: Sequence[float]) -> list[float]:
    """Change from one rate to the next by Savitzky and Golay's filter (1964), inside its windows.

    The derivative of the second-degree polynomial through ``HALF_WINDOW`` values to either side of
    each, which is Σ j·y_j / Σ j²; entry k belongs to value k + ``HALF_WINDOW``.
    """
    offsets = range(-HALF_WINDOW, HALF_WINDOW + 1)
    squares = sum(j * j for j in offsets)
    return [
        sum(j * smooth[k + j] for j in offsets) / squares
        for k in range(HALF_WINDOW, len(smooth) - HALF_WINDOW)
    ]


def _steepest(tried: Sequence[float], smooth: Sequence[float]) -> float | None:
    """The rate at which the smoothed loss falls fastest per factor of the rate."""
    found = [
        (slope, tried[k]) for k, slope in enumerate(slopes(smooth), HALF_WINDOW) if slope < 0.0
    ]
    return min(found)[1] if found else None


def _lowest(tried: Sequence[float], losses: Sequence[float]) -> float | None:
    """The rate at which the sweep is lowest; None when it never falls.

    By the median of the losses around each: the exponential mean lags by ten rates, a whole decade,
    and a third of where it is lowest lies above every stable rate.
    """
    around = [
        median(
            loss if math.isfinite(loss) else math.inf
            for loss in losses[max(0, k - HALF_WINDOW) : k + HALF_WINDOW + 1]
        )
        for k in range(len(losses))
    ]
    if not around or min(around) >= around[0]:
        return None
    return tried[around.index(min(around))]


def _diverges(tried: Sequence[float], losses: Sequence[float], bound: float) -> float | None:
    """The rate at which the rise begins that carries the loss over ``bound`` for good.

    A loss that has become small first has to grow back, so the rate at which it crosses the bound
    comes late.
    """
    left = len(losses)
    while left and not losses[left - 1] <= bound:
        left -= 1
    if left == len(losses):
        return None
    begin = left
    while begin and losses[begin - 1] < losses[begin]:
        begin -= 1
    return tried[begin]


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
