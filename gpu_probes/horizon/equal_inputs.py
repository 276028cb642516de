"""The smallest loss a batch leaves when equal inputs get equal answers. (PROBES.md M9)

Among samples with the same inputs a model can give but one answer, whatever its parameters: its loss
cannot fall below the entropy of their labels, or the variance of their values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from convlint.gpu_probes.tape import TapeUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from convlint.gpu_probes.tape import Tape
    from convlint.gpu_probes.tape.operations import Operation
    from convlint.gpu_probes.tape.trajectory import RecordedStep

_SAME_LOSS = 1e-5
"""Share by which the step's loss may miss the loss function's value and still be it."""
_NO_LABEL = -100
"""Torch's ``ignore_index``, which is not counted here."""
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
    found = _targets(step, inputs)
    if found is None:
        return None
    return found.spread_within(found.by_sample.new_zeros(len(found.by_sample), dtype=torch.long))


def least_with_equal_inputs(step: RecordedStep, inputs: Sequence[int]) -> float | None:
    """The smallest loss of ``step`` when samples whose inputs are all equal get the same answer.

    Takes the same inputs, and is None in the same cases, as ``best_constant``; also where no two
    samples are equal.

    Raises:
        TapeUnavailable: the step cannot be replayed, or its loss is no larger than that already.
    """
    if len(step.tapes) != 1 or not inputs:
        return None
    groups = _equal_samples(step.tapes[0], inputs)
    found = None if groups is None else _targets(step, inputs)
    if groups is None or found is None or len(groups) != len(found.by_sample):
        return None
    least = found.spread_within(groups)
    if found.loss <= least * (1.0 + _SAME_LOSS):
        raise TapeUnavailable(
            "samples with equal inputs have different targets, and the loss is no larger than that"
            " leaves"
        )
    return least


class _Targets(NamedTuple):
    """The targets of the one loss function of a step, (samples, positions), and its value."""

    by_sample: torch.Tensor
    labels: bool
    loss: float

    def spread_within(self, groups: torch.Tensor) -> float:
        """Mean entropy (nats) or variance of the targets among the samples of each group."""
        total = 0.0
        for group in range(int(groups.max()) + 1):
            members = self.by_sample[groups == group]
            spread = _entropy(members) if self.labels else _variance(members)
            total += spread * len(members) / len(self.by_sample)
        return total


def _targets(step: RecordedStep, inputs: Sequence[int]) -> _Targets | None:
    """None where the loss is not the plain mean of one cross entropy or of one squared error."""
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
        loss = float(tape.exchanging(places).loss().sum()) / step.loss_scale
    ((name, args, target, value),) = seen
    if abs(float(value.sum()) - loss) > _SAME_LOSS * abs(float(value.sum())):
        return None
    rows = tape.constant(inputs[0]).shape[0]
    if target.numel() % rows or not _is_plain_mean(name, args):
        return None
    labels = name != "aten::mse_loss"
    if not labels and args[0].shape != target.shape:
        return None
    return _Targets(target.reshape(rows, -1), labels, loss)


def _is_plain_mean(name: str, args: tuple[Any, ...]) -> bool:
    if name == "aten::mse_loss":
        return len(args) < 3 or args[2] == _MEAN
    weight, reduction = args[2], args[3]
    return weight is None and reduction == _MEAN and not bool((args[1] == _NO_LABEL).any())


def _equal_samples(tape: Tape, inputs: Sequence[int]) -> torch.Tensor | None:
    """A number for each sample, the same where all inputs are; None where all samples differ."""
    if not all(tape.has_constant(number) for number in inputs):
        return None
    given = [tape.constant(number) for number in inputs]
    if any(x.dim() == 0 or len(x) != len(given[0]) for x in given):
        return None
    kinds = [
        torch.unique(x.flatten(1) if x.dim() > 1 else x[:, None], dim=0, return_inverse=True)[1]
        for x in given
    ]
    together, groups = torch.unique(torch.stack(kinds, 1), dim=0, return_inverse=True)
    return groups if len(together) < len(groups) else None


def _variance(values: torch.Tensor) -> float:
    return float(values.double().var(0, unbiased=False).mean())


def _entropy(labels: torch.Tensor) -> float:
    """Mean over the positions of the entropy of labels (samples, positions), in nats."""
    total = 0.0
    for column in labels.t():
        _, counts = column.unique(return_counts=True)
        shares = counts.double() / counts.sum()
        total -= float((shares * shares.log()).sum())
    return total / labels.shape[1]
