"""Can the model learn one batch by heart? (PROBES.md M9)

A model with enough parameters that cannot drive the loss of a single batch towards its smallest
possible value has a fault in its wiring, whatever the rest of the data is like. The batch is a
recorded step, dropout off; the script's own optimizer tries first, then Adam at three rates, so
that a wrong rate is told from a wrong model.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from convlint.gpu_probes.horizon.equal_inputs import best_constant, least_with_equal_inputs
from convlint.gpu_probes.horizon.zero_inputs import lowest_without_inputs
from convlint.gpu_probes.observations import OverfitAttempt, OverfitOneBatch
from convlint.gpu_probes.tape import Change, TapeUnavailable
from convlint.gpu_probes.tape.trajectory import Course, RecordedStep, replay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from convlint.gpu_probes.tape.trajectory import Options, Start

STEPS = 200
"""A network of some thousand parameters learns a batch of 64 in fewer; more would only tell how
patient one is."""

SOLVED = 0.05
"""Share of the excess over the smallest possible loss at which the batch counts as learnt: of the
first loss's, or of that of a model that knows nothing, where the first is smaller already."""

FALLING = 0.02
"""Share of its excess a loss loses in the last quarter of the steps when it is still falling."""

CURVE_POINTS = 100
"""Points of each attempt's course that are kept, for the eye."""

ADAM_RATES = (1e-3, 1e-2, 1e-4)


def overfit_one_batch(
    start: Start,
    step: RecordedStep,
    *,
    floor: float,
    deadline: float,
    learning_rate: float | None,
    name: str,
    steps: int = STEPS,
    inputs: Sequence[int] = (),
    ignorance: float = 0.0,
) -> OverfitOneBatch | None:
    """Train on the batch of ``step`` alone from ``start``, until ``deadline`` (``time.monotonic``).

    ``floor`` is the smallest value the loss can take, ``learning_rate`` the largest rate the script
    used, ``name`` its optimizer's class, ``inputs`` the numbers of the model's inputs on the tape:
    samples that are equal in all of them raise the floor by what their targets differ.
    ``ignorance`` is the loss of a model that knows nothing, ln C for cross entropy over C classes, 0
    where that is not known. A batch that is learnt is tried again with the inputs at zero. None when
    not even the first attempt got anywhere before the deadline.

    Raises:
        TapeUnavailable: the step cannot be replayed, or its loss is as small as equal inputs let it.
    """
    floor = max(floor, least_with_equal_inputs(step, inputs) or 0.0)
    attempts: list[OverfitAttempt] = []
    for attempt_name, rate, course in _attempts(learning_rate, name):
        if time.monotonic() >= deadline:
            break
        losses = _train(start, step, course, steps, floor, ignorance, deadline)
        if len(losses) < 2:
            break
        attempts.append(_summed_up(attempt_name, rate, losses, floor, ignorance))
        if attempts[-1].excess <= SOLVED:
            break
    if not attempts:
        return None
    tried = OverfitOneBatch(
        attempts=tuple(attempts), floor=floor, planned=steps, outcome=_outcome(attempts, steps)
    )
    if attempts[-1].excess > SOLVED:
        return tried
    return _controlled(tried, start, step, inputs, course, steps, deadline)


def _controlled(
    tried: OverfitOneBatch,
    start: Start,
    step: RecordedStep,
    inputs: Sequence[int],
    course: Course,
    steps: int,
    deadline: float,
) -> OverfitOneBatch:
    """The same with the control: the attempt that succeeded, with all inputs at zero."""

    def out_of_time(_number: int, _loss: float) -> bool:
        return time.monotonic() >= deadline

    try:
        constant = best_constant(step, inputs)
        if constant is None:
            return tried
        lowest = lowest_without_inputs(start, step, inputs, course, steps, out_of_time)
    except TapeUnavailable:
        return tried
    return replace(tried, without_inputs=lowest, constant=constant)


def _attempts(learning_rate: float | None, name: str) -> Iterator[tuple[str, float | None, Course]]:
    """The script's own optimizer at its largest rate, then Adam at three rates."""
    without_dropout = Change(dropout=False)

    def own(step: int, group: int, recorded: Options) -> Options:
        return recorded if learning_rate is None else {**recorded, "lr": learning_rate}

    yield name, learning_rate, Course(options=own, change=without_dropout)
    for rate in ADAM_RATES:
        yield (
            "Adam",
            rate,
            Course(optimizer=_adam(rate), clippings=(), change=without_dropout),
        )


def _adam(rate: float) -> Callable[[list[dict[str, Any]]], torch.optim.Optimizer]:
    return lambda groups: torch.optim.Adam([p for g in groups for p in g["params"]], lr=rate)


def _train(
    start: Start,
    step: RecordedStep,
    course: Course,
    steps: int,
    floor: float,
    ignorance: float,
    deadline: float,
) -> tuple[float, ...]:
    first: list[float] = []

    def enough(number: int, loss: float) -> bool:
        first.append(loss)
        solved = loss - floor <= 0.5 * SOLVED * (max(first[0], ignorance) - floor)
        # One step is taken of a batch that is known already, so that there is an attempt.
        return (solved and number > 0) or time.monotonic() >= deadline

    return replay(start, [step] * steps, course, until=enough).losses


def _summed_up(
    name: str, rate: float | None, losses: tuple[float, ...], floor: float, ignorance: float
) -> OverfitAttempt:
    finite = [loss for loss in losses if loss == loss and abs(loss) != float("inf")]
    span = max(max(finite[0], ignorance) - floor, 1e-12) if finite else 1.0
    recent = sorted(finite[-max(1, len(finite) // 4) :])
    last = recent[len(recent) // 2] if recent else float("inf")
    before = sorted(finite[len(finite) // 2 : max(1, len(finite) * 3 // 4)])
    previous = before[len(before) // 2] if before else last
    lowest = min(finite, default=float("inf"))
    return OverfitAttempt(
        optimizer=name,
        learning_rate=rate,
        steps=len(losses),
        first=finite[0] if finite else None,
        lowest=lowest if finite else None,
        excess=(lowest - floor) / span,
        falling=previous - last > FALLING * max(previous - floor, 1e-12),
        finite=len(finite) == len(losses),
        curve=tuple(
            (step, losses[step] if math.isfinite(losses[step]) else None)
            for step in range(0, len(losses), max(1, len(losses) // CURVE_POINTS))
        ),
    )


def _outcome(attempts: list[OverfitAttempt], steps: int) -> str:
    if attempts[0].excess <= SOLVED:
        return "fits"
    if any(attempt.excess <= SOLVED for attempt in attempts):
        return "fits with another optimizer"
    complete = len(attempts) == 1 + len(ADAM_RATES) and all(
        attempt.steps >= steps or not attempt.finite for attempt in attempts
    )
    best = min(attempts, key=lambda attempt: attempt.excess)
    if not complete or best.falling:
        return "undetermined"
    return "does not fit"
