"""The control of learning one batch by heart: with its inputs at zero it must not be learnt.

A model that sees the same input for every sample can give but one answer, so its loss cannot fall
below that of the best constant answer. One that gets below has the labels from somewhere else.
(PROBES.md M9)
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from convlint.gpu_probes.tape import Tape, TapeUnavailable
from convlint.gpu_probes.tape.trajectory import Course, RecordedStep, replay

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from convlint.gpu_probes.tape.trajectory import Start


def lowest_without_inputs(
    start: Start,
    step: RecordedStep,
    inputs: Sequence[int],
    course: Course,
    steps: int,
    enough: Callable[[int, float], bool],
) -> float | None:
    """The lowest loss of training on ``step`` with every input at zero; None when never finite.

    Raises:
        TapeUnavailable: the step cannot be replayed, or an input is not on its tape.
    """
    tapes = tuple(_zeroed(tape, inputs) for tape in step.tapes)
    blind = RecordedStep(tapes, step.options, step.clippings, step.loss_scale)
    losses = replay(start, [blind] * steps, course, until=enough).losses
    return min((loss for loss in losses if math.isfinite(loss)), default=None)


def _zeroed(tape: Tape, inputs: Sequence[int]) -> Tape:
    if not all(tape.has_constant(number) for number in inputs):
        raise TapeUnavailable("an input of the model is not on the tape")
    return tape.exchanging(
        standing_in={number: torch.zeros_like(tape.constant(number)) for number in inputs}
    )
