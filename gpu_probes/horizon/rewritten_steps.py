"""Changes of what a recorded step computes: the code of the model or of its loss, put right.

Each function looks at the operations of one tape for a pattern and answers with a rewriting of
such tapes, or None where the pattern is not there. Operations and constants are exchanged, the
batch and the random draws stay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from convlint.gpu_probes.tape import TapeUnavailable

if TYPE_CHECKING:
    from convlint.gpu_probes.horizon.counterfactuals import Rewrite
    from convlint.gpu_probes.tape import Tape
    from convlint.gpu_probes.tape.operations import Operation
    from convlint.gpu_probes.tape.substitutions import Replacement

_SAME_NUMBERS = frozenset(
    f"aten::{name}"
    for name in (
        "view", "_unsafe_view", "reshape", "transpose", "permute", "t", "squeeze", "unsqueeze",
        "slice", "select", "clone", "contiguous", "alias", "_to_copy", "to", "flatten", "expand",
    )
)  # fmt: skip
"""Operations that only lay the numbers out otherwise."""

_WEIGHTED = frozenset(
    f"aten::{name}" for name in ("addmm", "mm", "bmm", "convolution", "linear", "matmul")
)
_SQUASHING = frozenset({"aten::sigmoid", "aten::tanh"})
_ACTIVATIONS = _SQUASHING | {"aten::relu", "aten::gelu", "aten::silu", "aten::leaky_relu"}
_NLL = frozenset({"aten::nll_loss_forward", "aten::nll_loss2d_forward"})

DEEP_STACK = 3
"""Squashing layers after one another from which on their gradients fade noticeably."""


def _first_argument(_operation: Operation, args: tuple[Any, ...], _keywords: dict[str, Any]) -> Any:
    return args[0].clone()


def without_output_softmax(tape: Tape) -> Rewrite | None:
    """No softmax between the scores and a cross entropy that applies one itself."""
    return _without_before(tape, "aten::_softmax", "aten::_log_softmax")


def without_output_sigmoid(tape: Tape) -> Rewrite | None:
    """No sigmoid before a binary cross entropy on logits."""
    return _without_before(tape, "aten::sigmoid", "aten::binary_cross_entropy_with_logits")


def _without_before(tape: Tape, superfluous: str, user: str) -> Rewrite | None:
    """Whatever ``superfluous`` was given goes into ``user`` as it is."""

    def preceded(steps: _Steps) -> list[int]:
        sources = {position: steps.source(position) for position in steps.named(user)}
        return [
            position
            for position, source in sources.items()
            if source is not None and steps.name(source) == superfluous
        ]

    return _exchange(
        tape,
        preceded,
        lambda steps, position: {_known(steps.source(position)): _first_argument},
    )


def log_probabilities(tape: Tape) -> Rewrite | None:
    """A negative log likelihood given log-probabilities instead of probabilities or scores."""

    def wrong(steps: _Steps) -> list[int]:
        return [
            position
            for position in steps.named(*_NLL)
            if (source := steps.source(position)) is not None
            and steps.name(source) in _WEIGHTED | {"aten::_softmax"}
        ]

    def right(steps: _Steps, position: int) -> dict[int, Replacement]:
        source = _known(steps.source(position))
        if steps.name(source) == "aten::_softmax":
            return {source: lambda _op, args, _keywords: F.log_softmax(args[0], args[1])}
        return {
            position: lambda op, args, keywords: op.function(
                F.log_softmax(args[0], 1), *args[1:], **keywords
            )
        }

    return _exchange(tape, wrong, right)


def matching_shapes(tape: Tape) -> Rewrite | None:
    """A mean squared error of two vectors element by element instead of all pairs."""

    def wrong(steps: _Steps) -> list[int]:
        return [p for p in steps.named("aten::mse_loss", "aten::l1_loss") if pair(steps, p)]

    def pair(steps: _Steps, position: int) -> tuple[int, int] | None:
        made = [steps.producer.get(value) for value in steps.operations[position].inputs[:2]]
        if len(made) < 2 or any(p is None or steps.name(p) != "aten::expand" for p in made):
            return None
        return _known(made[0]), _known(made[1])

    def right(steps: _Steps, position: int) -> dict[int, Replacement]:
        def flat(_op: Operation, args: tuple[Any, ...], _keywords: dict[str, Any]) -> Any:
            return args[0].reshape(-1)

        return dict.fromkeys(pair(steps, position) or (), flat)

    return _exchange(tape, wrong, right)


def in_training_mode(tape: Tape) -> Rewrite | None:
    """Batch normalisation by the batch's own statistics instead of the running ones."""

    def frozen(steps: _Steps) -> list[int]:
        normalising = steps.named("aten::native_batch_norm", "aten::cudnn_batch_norm")
        return [p for p in normalising if steps.operations[p].args[5] is False]

    def of_batch(op: Operation, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        mean, variance = (None if s is None else s.clone() for s in args[3:5])
        return op.function(*args[:3], mean, variance, True, *args[6:], **keywords)

    return _exchange(tape, frozen, lambda _steps, position: {position: of_batch})


def attached(tape: Tape) -> Rewrite | None:
    """Gradients that flow on where the forward pass detached them."""

    def cut(steps: _Steps) -> list[int]:
        return [p for p in steps.named("aten::detach") if steps.operations[p].gradients]

    def through(_op: Operation, args: tuple[Any, ...], _keywords: dict[str, Any]) -> Any:
        return args[0].view_as(args[0])

    return _exchange(tape, cut, lambda _steps, position: {position: through})


def rectified(tape: Tape) -> Rewrite | None:
    """ReLU in place of the sigmoid or tanh of a deep stack."""

    def rectify(_op: Operation, args: tuple[Any, ...], _keywords: dict[str, Any]) -> Any:
        return F.relu(args[0])

    return _exchange(
        tape, lambda steps: _stack(steps, _SQUASHING), lambda _steps, position: {position: rectify}
    )


def normalised(tape: Tape) -> Rewrite | None:
    """A normalisation without parameters before every activation of a deep stack."""

    def normalise(op: Operation, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        return op.function(_normalised(args[0]), *args[1:], **keywords)

    return _exchange(
        tape,
        lambda steps: _stack(steps, _ACTIVATIONS),
        lambda _steps, position: {position: normalise},
    )


def _normalised(signal: torch.Tensor) -> torch.Tensor:
    """Per channel over the batch; over the last dimension for sequences (batch, time, feature)."""
    if signal.dim() in (2, 4, 5):
        return F.batch_norm(signal, None, None, training=True)
    return F.layer_norm(signal, signal.shape[-1:])


def standardised(
    tapes: Sequence[Tape], inputs: Sequence[int], largest_offset: float, largest_ratio: float
) -> Rewrite | None:
    """Features with mean 0 and standard deviation 1 over all recorded batches.

    ``inputs`` are the numbers of the constants the model was given. Only those are changed of which
    a feature's mean lies ``largest_offset`` standard deviations from 0, or whose standard
    deviations are not all within a factor ``largest_ratio`` of 1.
    """
    moments: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    for number in inputs:
        given = [dict(tape.constants()).get(number) for tape in tapes]
        found = [x for x in given if x is not None]
        if len(found) < len(tapes) or not found[0].is_floating_point() or found[0].dim() < 2:
            continue
        if len({(x.dim(), x.shape[_feature(x)]) for x in found}) > 1:
            continue
        mean, spread = _moments(found)
        varying = spread > 0.0
        if not bool(varying.any()):
            continue
        offset = float((mean[varying].abs() / spread[varying]).max())
        ratio = float(torch.maximum(spread[varying], 1.0 / spread[varying]).max())
        if offset >= largest_offset or ratio >= largest_ratio:
            moments[number] = mean, torch.where(varying, spread, 1.0)
    if not moments:
        return None

    def rewrite(tape: Tape) -> Tape:
        given = dict(tape.constants())
        changed: dict[int, torch.Tensor] = {}
        for number, (mean, spread) in moments.items():
            batch = given.get(number)
            if batch is None or batch.shape[_feature(batch)] != len(mean):
                raise TapeUnavailable("the steps do not all take the same input")
            shape = [1] * batch.dim()
            shape[_feature(batch)] = -1
            standard = (batch - mean.view(shape)) / spread.view(shape)
            changed[number] = torch.empty_strided(
                batch.shape, batch.stride(), dtype=batch.dtype, device=batch.device
            ).copy_(standard)
        return tape.exchanging(standing_in=changed)

    return rewrite


def _feature(batch: torch.Tensor) -> int:
    """The dimension of the features: channels of images, else the last."""
    return 1 if batch.dim() in (2, 4, 5) else batch.dim() - 1


def _moments(batches: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    rows = torch.cat([x.detach().movedim(_feature(x), -1).flatten(0, -2) for x in batches])
    return rows.mean(0), rows.std(0)


class _Steps:
    """The operations of a tape, by position, with what each value was made by."""

    def __init__(self, tape: Tape) -> None:
        self.operations = tape.operations
        self.producer: dict[int, int] = {}
        self.users: dict[int, list[int]] = {}
        for position, operation in enumerate(tape.operations):
            for number in operation.outputs:
                if number is not None:
                    self.producer[number] = position
            for number in operation.inputs:
                self.users.setdefault(number, []).append(position)

    def name(self, position: int) -> str:
        return self.operations[position].name

    def named(self, *names: str) -> list[int]:
        return [p for p, operation in enumerate(self.operations) if operation.name in names]

    def source(self, position: int) -> int | None:
        """The operation that computed the numbers of the first argument."""
        inputs = self.operations[position].inputs
        made = self.producer.get(inputs[0]) if inputs else None
        while made is not None and self.name(made) in _SAME_NUMBERS:
            inputs = self.operations[made].inputs
            made = self.producer.get(inputs[0]) if inputs else None
        return made

    def feeds_weights(self, position: int) -> bool:
        """Whether all that is done with the result is to multiply it with weights."""
        waiting = [n for n in self.operations[position].outputs if n is not None]
        found = False
        while waiting:
            for user in self.users.get(waiting.pop(), ()):
                if self.name(user) in _SAME_NUMBERS or "max_pool" in self.name(user):
                    outputs = self.operations[user].outputs
                    waiting += [n for n in outputs[:1] if n is not None]
                elif self.name(user) in _WEIGHTED:
                    found = True
                else:
                    return False
        return found


def _stack(steps: _Steps, activations: frozenset[str]) -> list[int]:
    """Activations between weighted layers, when there are enough to be a deep stack.

    The gates of recurrent cells are multiplied with something else than weights.
    """
    found = [
        p
        for p in steps.named(*activations)
        if (source := steps.source(p)) is not None
        and steps.name(source) in _WEIGHTED
        and steps.feeds_weights(p)
    ]
    return found if len(found) >= DEEP_STACK else []


def _exchange(
    tape: Tape,
    places: Callable[[_Steps], list[int]],
    instead: Callable[[_Steps, int], Mapping[int, Replacement]],
) -> Rewrite | None:
    """A rewriting that exchanges what ``instead`` says at each of ``places``; None without any."""
    if not places(_Steps(tape)):
        return None

    def rewrite(other: Tape) -> Tape:
        steps = _Steps(other)
        found: dict[int, Replacement] = {}
        for position in places(steps):
            found.update(instead(steps, position))
        if not found:
            raise TapeUnavailable("the steps do not all compute the same")
        return other.exchanging(found)

    return rewrite


def _known(position: int | None) -> int:
    assert position is not None
    return position
