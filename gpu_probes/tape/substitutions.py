"""What a replay may compute otherwise than the step did.

* float64, to tell rounding from mathematics;
* without dropout, for experiments that need a deterministic loss;
* fused operations by equals that can be differentiated twice, for Hessians. This is done in the
  replay only: exchanging them in the script would change its numbers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from convlint.gpu_probes.tape.operations import (
    CUDNN_RECURRENT,
    Operation,
    TapeUnavailable,
    traits,
)

Replacement = Callable[[Operation, tuple[Any, ...], dict[str, Any]], Any]

LSTM_MODE = 2
"""``mode`` of an LSTM among the recurrent layers of oneDNN (0 and 1 are plain, 3 is a GRU)."""


_WEIGHTS_WITH_BIAS = 4
"""Weights that cuDNN has for a layer and direction with biases: fewer without, more with a
projection."""


@dataclass(frozen=True)
class Change:
    """How a replay differs from the step.

    ``dtype`` computes everything that was in floating point in this type instead (float64);
    ``dropout`` False replaces dropout masks by their mean; ``twice_differentiable`` exchanges
    fused operations without a second derivative.
    """

    dtype: torch.dtype | None = None
    dropout: bool = True
    twice_differentiable: bool = False

    @property
    def any(self) -> bool:
        """Whether anything changes at all."""
        return self.dtype is not None or not self.dropout or self.twice_differentiable

    def cast(self, tensor: torch.Tensor) -> torch.Tensor:
        """``tensor`` in the type of the replay; integers and booleans stay as they are."""
        if self.dtype is None or not tensor.is_floating_point():
            return tensor
        return tensor.to(self.dtype)


def substitute(operation: Operation, change: Change) -> Replacement | None:
    """What to compute instead of ``operation``, or None when it stays as it is."""
    name = operation.name
    if not change.dropout and name in _WITHOUT_DROPOUT:
        return _WITHOUT_DROPOUT[name]
    replaced = change.dtype is not None or change.twice_differentiable
    if replaced and name in _FUSED:
        fused = _FUSED[name]
        return lambda _operation, args, keywords: fused(_operation, args, keywords, change.dropout)
    if change.dtype is None:
        return None
    if operation.random:
        return _drawn_in_the_recorded_type
    dtype = change.dtype
    return lambda _operation, args, keywords: _in_type(_operation, args, keywords, dtype)


def _in_type(
    operation: Operation, args: tuple[Any, ...], keywords: dict[str, Any], dtype: torch.dtype
) -> Any:
    """The operation with every floating-point type it names exchanged for ``dtype``."""
    if operation.name == "aten::view" and any(isinstance(a, torch.dtype) for a in args):
        raise TapeUnavailable("the step reads the bits of a tensor as another type")
    changed = {
        key: dtype if isinstance(item, torch.dtype) and item.is_floating_point else item
        for key, item in keywords.items()
    }
    arguments = operation.function._schema.arguments
    if (
        traits(operation.function).takes_dtype
        and changed.get("dtype") is None
        and not operation.inputs
        and operation.dtype is not None
        and operation.dtype.is_floating_point
    ):
        changed["dtype"] = dtype
    named = [argument.name for argument in arguments[: len(args)]]
    # Softmax of a half-precision input into float32 has no meaning among float64.
    args = tuple(
        False if name == "half_to_float" else value for name, value in zip(named, args, strict=True)
    )
    if "half_to_float" in changed:
        changed["half_to_float"] = False
    return operation.function(*args, **changed)


def _drawn_in_the_recorded_type(
    operation: Operation, args: tuple[Any, ...], keywords: dict[str, Any]
) -> Any:
    """The very draws of the step: the stream of random numbers depends on the type."""
    recorded = operation.dtype
    if recorded is None or not recorded.is_floating_point:
        return operation.function(*args, **keywords)
    if operation.name == "aten::native_dropout":
        source, probability, *rest = args
        _, mask = operation.function(source.detach().to(recorded), probability, *rest)
        return source * mask / (1.0 - probability), mask
    if operation.writes:
        target = args[0]
        drawn = torch.empty_like(target, dtype=recorded)
        operation.function(drawn, *args[1:], **keywords)
        return target.copy_(drawn)
    narrow = tuple(
        a.to(recorded) if isinstance(a, torch.Tensor) and a.is_floating_point() else a for a in args
    )
    wide = next(
        (a.dtype for a in args if isinstance(a, torch.Tensor) and a.is_floating_point()),
        torch.float64,
    )
    result = operation.function(*narrow, **keywords)
    return result.to(wide) if isinstance(result, torch.Tensor) else result


def _mean_of_bernoulli(
    operation: Operation, args: tuple[Any, ...], keywords: dict[str, Any]
) -> Any:
    target = args[0]
    probability = args[1] if len(args) > 1 else keywords.get("p", 0.5)
    if isinstance(probability, torch.Tensor):
        return target.copy_(probability)
    return target.fill_(probability)


def _no_dropout(operation: Operation, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    return args[0].clone(), torch.ones_like(args[0], dtype=torch.bool)


_WITHOUT_DROPOUT: dict[str, Replacement] = {
    "aten::bernoulli_": _mean_of_bernoulli,
    "aten::native_dropout": _no_dropout,
}


def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    probability: float,
    causal: bool,
    scale: float | None,
    operation: Operation,
) -> torch.Tensor:
    """softmax(q kᵀ · scale + mask) v in plain operations, laid out in memory as it was."""
    if probability > 0.0:
        raise TapeUnavailable("dropout inside fused attention cannot be drawn again")
    result, _ = torch.ops.aten._scaled_dot_product_attention_math(
        query, key, value, mask, 0.0, causal, None, scale=scale
    )
    return _laid_out(result, operation.strides)


def drops_inside_attention(operation: Operation) -> bool:
    """Whether it is fused attention with dropout, whose mask never leaves the kernel."""
    if operation.name not in _FUSED:
        return False
    named = [argument.name for argument in operation.function._schema.arguments]
    given = {**dict(zip(named, operation.args, strict=False)), **operation.keywords}
    return bool(given.get("dropout_p"))


def _laid_out(tensor: torch.Tensor, strides: tuple[int, ...] | None) -> torch.Tensor:
    """``tensor`` with its dimensions in the order in memory that ``strides`` have."""
    if strides is None or len(strides) != tensor.dim():
        return tensor
    order = sorted(range(tensor.dim()), key=lambda d: (-strides[d], d))
    back = [order.index(d) for d in range(tensor.dim())]
    return tensor.permute(order).contiguous().permute(back)


def _fused_for_cpu(
    operation: Operation, args: tuple[Any, ...], keywords: dict[str, Any], dropout: bool
) -> Any:
    query, key, value, *rest = args
    probability = (rest[0] if rest else 0.0) if dropout else 0.0
    causal = rest[1] if len(rest) > 1 else False
    mask, scale = keywords.get("attn_mask"), keywords.get("scale")
    result = _attention(query, key, value, mask, probability, causal, scale, operation)
    return result, None


def _fused_flash(
    operation: Operation, args: tuple[Any, ...], keywords: dict[str, Any], dropout: bool
) -> Any:
    query, key, value, *rest = args
    probability = (rest[0] if rest else 0.0) if dropout else 0.0
    causal = rest[1] if len(rest) > 1 else False
    scale = keywords.get("scale")
    result = _attention(query, key, value, None, probability, causal, scale, operation)
    return (result, *(None,) * (len(operation.outputs) - 1))


def _fused_with_bias(
    operation: Operation, args: tuple[Any, ...], keywords: dict[str, Any], dropout: bool
) -> Any:
    query, key, value, mask, _, *rest = args
    probability = (rest[0] if rest else 0.0) if dropout else 0.0
    causal = rest[1] if len(rest) > 1 else False
    scale = keywords.get("scale")
    result = _attention(query, key, value, mask, probability, causal, scale, operation)
    return (result, *(None,) * (len(operation.outputs) - 1))


def _lstm_layer(
    operation: Operation, args: tuple[Any, ...], keywords: dict[str, Any], dropout: bool
) -> Any:
    """One layer and direction of an LSTM, step by step (Hochreiter & Schmidhuber 1997).

    Input (time, batch, features); the gates are input, forget, cell and output, as torch packs
    them.
    """
    sequence, input_weight, state_weight, input_bias, state_bias, hidden, cell = args[:7]
    reverse, _, mode, _, _, biased = args[7:13]
    if mode != LSTM_MODE:
        raise TapeUnavailable("a fused recurrent layer other than an LSTM has no second derivative")
    bias = input_bias + state_bias if biased else None
    projected = torch.nn.functional.linear(sequence, input_weight, bias)
    hidden, cell = hidden.reshape(sequence.shape[1], -1), cell.reshape(sequence.shape[1], -1)
    outputs: list[torch.Tensor] = []
    steps = range(sequence.shape[0])
    for t in reversed(steps) if reverse else steps:
        gates = projected[t] + hidden @ state_weight.t()
        into, forget, candidate, out = gates.chunk(4, dim=1)
        cell = forget.sigmoid() * cell + into.sigmoid() * candidate.tanh()
        hidden = out.sigmoid() * cell.tanh()
        outputs.append(hidden)
    if reverse:
        outputs.reverse()
    return torch.stack(outputs), hidden, cell, None


def _cudnn_layers(
    operation: Operation, args: tuple[Any, ...], keywords: dict[str, Any], dropout: bool
) -> Any:
    """The layers by torch's own kernels, which can be differentiated twice."""
    sequence, weights, stride, _, hidden, cell, mode = args[:7]
    layers, batch_first, probability, training, both_ways, lengths = args[9:15]
    layer: Any = (torch.rnn_relu, torch.rnn_tanh, torch.lstm, torch.gru)[mode]
    state = (hidden, cell) if mode == LSTM_MODE else hidden
    biased = stride >= _WEIGHTS_WITH_BIAS
    shape = (biased, layers, probability if dropout else 0.0, training, both_ways)
    with without_cudnn():
        if lengths:
            result = layer(sequence, torch.tensor(lengths), state, weights, *shape)
        else:
            result = layer(sequence, state, weights, *shape, batch_first)
    output, hidden, *rest = result
    return output, hidden, rest[0] if rest else None, None, None


@contextlib.contextmanager
def without_cudnn() -> Iterator[None]:
    """Leave cuDNN out of what is computed within."""
    enabled = torch.backends.cudnn.enabled
    torch.backends.cudnn.enabled = False
    try:
        yield
    finally:
        torch.backends.cudnn.enabled = enabled


_FUSED: dict[str, Callable[[Operation, tuple[Any, ...], dict[str, Any], bool], Any]] = {
    "aten::_scaled_dot_product_flash_attention_for_cpu": _fused_for_cpu,
    "aten::_scaled_dot_product_flash_attention": _fused_flash,
    "aten::_scaled_dot_product_efficient_attention": _fused_with_bias,
    "aten::_scaled_dot_product_cudnn_attention": _fused_with_bias,
    "aten::mkldnn_rnn_layer": _lstm_layer,
    CUDNN_RECURRENT: _cudnn_layers,
}
