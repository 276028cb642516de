"""Which operation turned finite numbers into NaN or infinity? (PROBES.md M4)

Asked of the tape of the very step, at the parameters the step was made with. Forward, the origin is
an operation whose inputs are finite and whose result is not, on the way to the loss; backward, one
that is handed finite gradients and hands on others. A minus infinity that masks attention scores
is no fault: what made it is passed over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from convlint.gpu_probes.tape.substitutions import Change

if TYPE_CHECKING:
    from convlint.gpu_probes.tape.operations import Operation
    from convlint.gpu_probes.tape.tape import Tape

DOMAIN_ERROR = "domain error"
OVERFLOW = "overflow"
GIVEN = "not finite before the step"
DERIVATIVE = "infinite derivative"

_MASKING = frozenset(
    f"aten::{name}"
    for name in (
        *("masked_fill", "masked_fill_", "where", "full", "full_like", "new_full", "fill"),
        *("fill_", "scalar_tensor", "zeros", "zeros_like", "lift_fresh", "lift_fresh_copy"),
        *("triu", "triu_", "tril", "tril_", "copy_", "clone", "_to_copy", "detach"),
    )
)
"""Operations that put numbers where they are told to: an infinity there is on purpose."""

_FINITE, _INFINITE, _NAN = 0, 1, 2


@dataclass(frozen=True)
class Origin:
    """The operation, which of both passes, and why; ``operation`` is None when what the step
    was given (``GIVEN``) was not finite already."""

    operation: Operation | None
    backward: bool
    cause: str


def forward_origin(tape: Tape) -> Origin | None:
    """The first operation on the way to a non-finite loss that made it so, None when there is none.

    Costs two evaluations of the loss, the second in float64.

    Raises:
        TapeUnavailable: the tape cannot be replayed.
    """
    course = _Course(tape)
    with torch.no_grad():
        loss = tape.loss(observe=course.observe)
    if _state(loss) == _FINITE:
        return None
    index = course.origin()
    if index is None:
        return Origin(None, backward=False, cause=GIVEN) if course.given else None
    operation = course.operations[index]
    return Origin(operation, backward=False, cause=_cause(tape, index))


def backward_origin(tape: Tape) -> Origin | None:
    """The operation whose derivative made the first non-finite gradient of a finite loss.

    Costs one evaluation with its gradients.

    Raises:
        TapeUnavailable: the tape cannot be replayed, or has a backward pass of its own.
    """
    spoiling: list[Operation] = []
    hooked: list[Any] = []

    def follow(operation: Operation, result: Any) -> None:
        for tensor in _tensors(result):
            node = None if tensor is None else tensor.grad_fn
            if node is not None and (not hooked or node is not hooked[-1]):
                hooked.append(node)
                node.register_hook(lambda passed_on, handed: note(operation, passed_on, handed))

    def note(operation: Operation, passed_on: Any, handed: Any) -> None:
        if any(map(_spoilt, passed_on)) and not any(map(_spoilt, handed)):
            spoiling.append(operation)

    with torch.enable_grad():
        leaves = [p.detach().requires_grad_() for p in tape.parameters]
        loss = tape.loss(leaves, observe=follow)
        if _state(loss) != _FINITE or not loss.requires_grad:
            return None
        torch.autograd.grad(loss, leaves, allow_unused=True)
    # The backward pass runs from the end: the first to spoil a gradient is the origin.
    return Origin(spoiling[0], backward=True, cause=DERIVATIVE) if spoiling else None


class _Course:
    """What is finite along one replay."""

    def __init__(self, tape: Tape) -> None:
        self.operations: list[Operation] = []
        self.state: dict[int, int] = {}
        self._made_by: dict[int, int] = {}
        self._states_of_inputs: list[dict[int, int]] = []
        self._loss = tape.loss_value
        for number, value in (*tape.constants(), *_parameters(tape)):
            self.state[number] = _state(value)
        self.given = any(self.state.values())
        self._spoilt = {number for number, state in self.state.items() if state != _FINITE}

    def observe(self, operation: Operation, result: Any) -> None:
        index = len(self.operations)
        self.operations.append(operation)
        self._states_of_inputs.append({n: self.state.get(n, _FINITE) for n in operation.inputs})
        for number, tensor in zip(operation.outputs, _tensors(result), strict=False):
            if number is not None and tensor is not None:
                self.state[number] = _state(tensor)
                self._made_by[number] = index
        for number in operation.writes:
            written = [n for n in operation.outputs if n is not None]
            self.state[number] = max((self.state.get(n, _FINITE) for n in written), default=0)
            self._made_by[number] = index

    def origin(self) -> int | None:
        """The first operation that turns finite into non-finite, among those the loss got it from;
        else the first that makes NaN of infinities."""
        makers, mixers = [], []
        waiting, seen = [self._loss], {self._loss}
        while waiting:
            number = waiting.pop()
            index = self._made_by.get(number)
            if index is None:
                continue
            operation, inputs = self.operations[index], self._states_of_inputs[index]
            spoilt = [n for n, state in inputs.items() if state != _FINITE]
            state = max(self.state.get(n, 0) for n in operation.outputs if n is not None)
            if not spoilt and operation.name not in _MASKING:
                makers.append(index)
            elif state == _NAN and all(inputs[n] != _NAN for n in spoilt):
                mixers.append(index)
            for n in spoilt:
                if n not in seen:
                    seen.add(n)
                    waiting.append(n)
        if makers:
            return min(makers)
        if seen & self._spoilt and not mixers:
            return None
        return min(mixers, default=None)


def _cause(tape: Tape, index: int) -> str:
    """Whether the operation overflows its type or leaves its domain: float64 tells."""
    states: list[int] = []

    def observe(operation: Operation, result: Any) -> None:
        results = [t for t in _tensors(result) if t is not None]
        states.append(max((_state(t) for t in results), default=_FINITE))

    try:
        with torch.no_grad():
            tape.loss(change=Change(dtype=torch.float64), observe=observe)
    except Exception:  # a tape that has no float64 still has its origin
        return ""
    return OVERFLOW if states[index] == _FINITE else DOMAIN_ERROR


def _parameters(tape: Tape) -> list[tuple[int, torch.Tensor]]:
    return list(zip(tape.parameter_values, tape.parameters, strict=True))


def _tensors(result: Any) -> list[torch.Tensor | None]:
    """The tensors of a result in the order a tape numbers them."""
    found: list[torch.Tensor | None] = []
    for item in result if isinstance(result, (list, tuple)) else (result,):
        parts = item if isinstance(item, (list, tuple)) else (item,)
        found += [part if isinstance(part, torch.Tensor) else None for part in parts]
    return found


def _spoilt(gradient: torch.Tensor | None) -> bool:
    return gradient is not None and _state(gradient) != _FINITE


def _state(tensor: torch.Tensor) -> int:
    if not tensor.is_floating_point() or not tensor.numel():
        return _FINITE
    values = tensor.detach()
    if bool(torch.isfinite(values).all()):
        return _FINITE
    return _NAN if bool(torch.isnan(values).any()) else _INFINITE
