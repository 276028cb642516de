"""The smallest value that a recorded loss can take, whatever the parameters."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from convlint.gpu_probes.tape.operations import Reference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from convlint.gpu_probes.observations import LossFunction
    from convlint.gpu_probes.tape import Tape
    from convlint.gpu_probes.tape.operations import Operation

__all__ = ["ignorant_loss", "scaled_floor", "smallest_loss"]

_REAL = frozenset({"mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"})
_BINARY = frozenset({"binary_cross_entropy", "binary_cross_entropy_with_logits"})
_NEGATIVE_LOG = frozenset({"aten::nll_loss_forward", "aten::nll_loss2d_forward"})
# Multiplying by what no parameter enters, and adding up, leaves zero where it is.
_SCALING = frozenset(
    f"aten::{name}"
    for name in (
        "mul", "mul_", "div", "div_", "sum", "mean", "view", "_unsafe_view", "squeeze",
        "unsqueeze", "expand", "_to_copy", "alias", "detach", "clone",
    )
)  # fmt: skip


def smallest_loss(loss: LossFunction, accumulated: float) -> float | None:
    """The smallest value of a mean ``loss`` on any batch, None when that depends on the targets.

    One of k ``accumulated`` micro-batches carries a k-th of the loss.
    """
    if loss.function in _REAL or loss.function == "nll_loss":
        return 0.0
    if loss.function == "cross_entropy" and _has_labels(loss):
        assert loss.classes
        return _smoothed_entropy(loss.label_smoothing, loss.classes) / accumulated
    return None


def ignorant_loss(loss: LossFunction, accumulated: float) -> float:
    """The value of a mean cross entropy when all classes are given the same chance; 0 of others."""
    if loss.function != "cross_entropy" or not _has_labels(loss):
        return 0.0
    assert loss.classes
    return math.log(loss.classes) / accumulated


def scaled_floor(loss: LossFunction, tapes: Sequence[Tape]) -> float | None:
    """Zero where every tape's loss is ``loss`` times what no parameter enters, and it can be zero.

    That holds whatever the reduction, the normalisation and the number of micro-batches; labels
    between the classes (smoothing, probabilities) have an entropy that no model comes below.
    """
    for tape in tapes:
        ends = [op for op in tape.operations if _is_loss(op, loss, tape)]
        if len(ends) != 1 or not _only_scaled(tape, ends[0]):
            return None
    return 0.0 if tapes else None


def _has_labels(loss: LossFunction) -> bool:
    return bool(loss.classes) and len(loss.target_shape) < len(loss.input_shape)


def _is_loss(operation: Operation, loss: LossFunction, tape: Tape) -> bool:
    """Whether ``operation`` computes ``loss``, and can make it zero."""
    if loss.function == "cross_entropy":
        known = _has_labels(loss) and loss.label_smoothing == 0.0
        return known and operation.name in _NEGATIVE_LOG
    if operation.name != f"aten::{loss.function}":
        return False
    return loss.function in _REAL or (
        loss.function in _BINARY and _is_hard(operation.args[1], tape)
    )


def _is_hard(target: object, tape: Tape) -> bool:
    """Whether every target is zero or one."""
    if not isinstance(target, Reference) or not tape.has_constant(target.value):
        return False
    values = tape.constant(target.value)
    return bool(((values == 0) | (values == 1)).all())


def _only_scaled(tape: Tape, end: Operation) -> bool:
    """Whether the loss of the tape is the result of ``end``, multiplied and added up alone."""
    learnt = set(tape.parameter_values)
    chain: set[int] = set()
    for operation in tape.operations:
        outputs = {number for number in operation.outputs if number is not None}
        joined = chain.intersection(operation.inputs)
        if operation is end:
            chain |= outputs
        elif joined:
            others = learnt.intersection(operation.inputs) - chain
            if operation.name not in _SCALING or others or _has_negative(operation):
                return False
            chain |= outputs
        if learnt.intersection(operation.inputs):
            learnt |= outputs
    return tape.loss_value in chain


def _has_negative(operation: Operation) -> bool:
    scaling = operation.name.startswith(("aten::mul", "aten::div"))
    return scaling and any(isinstance(a, (int, float)) and a < 0 for a in operation.args)


def _smoothed_entropy(smoothing: float, classes: int) -> float:
    """Entropy of a smoothed one-hot target: 1 - ε + ε/C for the label, ε/C for each other class."""
    shares = [1.0 - smoothing + smoothing / classes, *([smoothing / classes] * (classes - 1))]
    return -sum(share * math.log(share) for share in shares if share > 0.0)
