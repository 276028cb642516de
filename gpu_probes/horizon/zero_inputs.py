"""The control of learning one batch by heart: with its inputs at zero it must not be learnt.

A model that sees the same input for every sample can give but one answer, so its loss cannot fall
below that of the best constant answer: the entropy of the batch's labels, the variance of its
values. One that gets below has the labels from somewhere else. (PROBES.md M9)
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from convlint.gpu_probes.tape import Tape, TapeUnavailable
from convlint.gpu_probes.tape.trajectory import Course, RecordedStep, replay

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from convlint.gpu_probes.tape.operations import Operation
    from convlint.gpu_probes.tape.trajectory import Start

_SAME_LOSS = 1e-5
"""Share by which the step's loss may miss the loss function's value and still be it."""
_NO_LABEL = -100
"""Torch's ``ignore_index``, which a control does not count."""
_MEAN = 1
"""``reduction`` of aten's loss functions: none, mean, sum."""


def best_constant(step: RecordedStep, inputs: Sequence[int]) -> float | None:
    """The smallest loss of ``step`` when every sample gets the same answer.

    Of a sequence each position may have an answer of its own. ``inputs`` are the numbers of the
    models' inputs, whose first dimension is the batch. None where the loss of the step is not
    the mean of one cross entropy over labels or of one squared error.

    Raises:
        TapeUnavailable: the step cannot be replayed.
    """
    if len(step.tapes) != 1 or not inputs:
        return None
    (tape,) = step.tapes
    seen: list[tuple[str, Any, torch.Tensor, torch.Tensor]] = []

    def look(operation: Operation, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        result = operation.function(*args, **keywords)
        value = result[0] if isinstance(result, tuple) else result
        seen.append((operation.name, args, args[1], value))
        return result

    places = {
        position: look
        for position, operation in enumerate(tape.operations)
        if operation.name in ("aten::nll_loss_forward", "aten::mse_loss")
    }
    if len(places) != 1:
        return None
    with torch.no_grad():
        loss = float(tape.exchanging(places).loss().sum())
    ((name, args, target, value),) = seen
    if abs(float(value.sum()) - loss / step.loss_scale) > _SAME_LOSS * abs(float(value.sum())):
        return None
    rows = tape.constant(inputs[0]).shape[0]
    if target.numel() % rows or not _is_plain_mean(name, args):
        return None
    by_sample = target.reshape(rows, -1)
    if name == "aten::mse_loss":
        if args[0].shape != target.shape:
            return None
        return float(by_sample.double().var(0, unbiased=False).mean())
    return _entropy(by_sample)


def _is_plain_mean(name: str, args: tuple[Any, ...]) -> bool:
    if name == "aten::mse_loss":
        return len(args) < 3 or args[2] == _MEAN
    weight, reduction = args[2], args[3]
    return weight is None and reduction == _MEAN and not bool((args[1] == _NO_LABEL).any())


def _entropy(labels: torch.Tensor) -> float:
    """Mean over the positions of the entropy of labels (samples, positions), in nats."""
    total = 0.0
    for column in labels.t():
        _, counts = column.unique(return_counts=True)
        shares = counts.double() / counts.sum()
        total -= float((shares * shares.log()).sum())
    return total / labels.shape[1]


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
