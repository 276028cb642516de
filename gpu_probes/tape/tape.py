"""A recorded training step, replayed: loss(θ) for the script's own model, loss and batch.

Replaying calls the same aten operations in the same order, so with the same parameters the loss
and its gradients are those of the script bit for bit; with other parameters they are what the
script would have computed there, with the same batch and the same random draws.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from convlint.gpu_probes.attach.measuring import kept_random_state
from convlint.gpu_probes.tape.operations import Operation, TapeUnavailable, fill
from convlint.gpu_probes.tape.substitutions import (
    Change,
    Replacement,
    drops_inside_attention,
    substitute,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

COPIED_AT_MOST = 256 * 2**20
"""Bytes of constants a tape copies, so that it outlives what the script does to its batch; larger
ones are referred to, and a replay refuses when they have changed."""


class Constant:
    """A tensor that was there before the step: a parameter, a buffer, part of the batch."""

    __slots__ = ("_copy", "_version", "parameter", "tensor")

    def __init__(self, tensor: torch.Tensor, parameter: bool, version: int) -> None:
        self.tensor = tensor
        self.parameter = parameter
        self._version = version
        self._copy: torch.Tensor | None = None

    @property
    def kept(self) -> bool:
        """Whether its value is safe from what the script does later."""
        return self._copy is not None

    @property
    def bytes(self) -> int:
        """Memory a copy takes."""
        return self.tensor.numel() * self.tensor.element_size()

    def keep(self) -> None:
        """Copy the value as it is now, strides included."""
        copy = torch.empty_strided(
            self.tensor.shape,
            self.tensor.stride(),
            dtype=self.tensor.dtype,
            device=self.tensor.device,
        )
        self._copy = copy.copy_(self.tensor.detach())

    def value(self) -> torch.Tensor:
        """The value at the time of the step.

        Raises:
            TapeUnavailable: the script has overwritten it since.
        """
        if self._copy is not None:
            return self._copy
        if self.tensor._version != self._version:
            raise TapeUnavailable("the script has overwritten the batch since the step")
        return self.tensor.detach()


@dataclass(frozen=True)
class Tape:
    """One training step as a list of operations.

    ``parameters`` are the leaves that require gradients, in the order the step first uses them.
    ``own_backward`` names a custom autograd Function in the step: the loss can then be replayed,
    its gradients cannot. ``rewritten`` is what is computed instead of the operation at a position,
    ``standing_in`` what is used instead of a constant.
    """

    parameters: tuple[torch.Tensor, ...]
    operations: tuple[Operation, ...]
    own_backward: str
    _loss: int
    _parameter_values: tuple[int, ...]
    _constants: dict[int, Constant]
    _written: frozenset[int]
    _last_uses: tuple[tuple[int, ...], ...]
    _size: int
    _random_state: torch.Tensor = field(repr=False)
    _cuda_states: list[torch.Tensor] = field(repr=False)
    rewritten: Mapping[int, Replacement] = field(default_factory=dict)
    standing_in: Mapping[int, torch.Tensor] = field(default_factory=dict)

    def exchanging(
        self,
        rewritten: Mapping[int, Replacement] | None = None,
        standing_in: Mapping[int, torch.Tensor] | None = None,
    ) -> Tape:
        """The same step with other operations at some positions and other constants.

        What was exchanged before stays so where nothing new is given.
        """
        return replace(
            self,
            rewritten={**self.rewritten, **(rewritten or {})},
            standing_in={**self.standing_in, **(standing_in or {})},
        )

    @classmethod
    def of(
        cls,
        loss: int,
        own_backward: str,
        operations: Iterable[Operation],
        constants: dict[int, Constant],
        storage_of: tuple[int, ...],
        moved: Mapping[int, str],
        random_state: torch.Tensor,
        cuda_states: list[torch.Tensor],
    ) -> Tape:
        """The part of a recording that value ``loss`` depends on.

        Operations that draw random numbers stay, so that the others find the stream where it was.
        ``moved`` are values of which nothing is known but the operation that made them so.
        """
        kept, needed = _slice(loss, operations, storage_of)
        for number in needed & moved.keys():
            raise TapeUnavailable(f"the step gives a tensor other memory ({moved[number]})")
        held = {number: constant for number, constant in constants.items() if number in needed}
        parameters = [number for number, constant in held.items() if constant.parameter]
        if not parameters:
            raise TapeUnavailable("the loss depends on no parameter that requires gradients")
        written = {storage_of[number] for operation in kept for number in operation.writes}
        copied = 0
        for constant in held.values():
            if not constant.parameter and not constant.kept:
                copied += constant.bytes
                if copied <= COPIED_AT_MOST:
                    constant.keep()
        return cls(
            parameters=tuple(held[number].tensor for number in parameters),
            operations=kept,
            own_backward=own_backward,
            _loss=loss,
            _parameter_values=tuple(parameters),
            _constants={n: c for n, c in held.items() if not c.parameter},
            _written=frozenset(n for n in held if storage_of[n] in written),
            _last_uses=_last_uses(kept, keep={loss}),
            _size=len(storage_of),
            _random_state=random_state,
            _cuda_states=cuda_states,
        )

    @property
    def in_half_precision(self) -> bool:
        """Whether a part of the step was computed in float16 or bfloat16."""
        return any(op.dtype in (torch.float16, torch.bfloat16) for op in self.operations)

    @property
    def drops_inside_attention(self) -> bool:
        """Whether dropout was applied where only the recorded kernel can draw it again."""
        return any(map(drops_inside_attention, self.operations))

    @property
    def loss_value(self) -> int:
        """The number of the loss."""
        return self._loss

    @property
    def parameter_values(self) -> tuple[int, ...]:
        """The numbers of ``parameters``."""
        return self._parameter_values

    def constants(self) -> list[tuple[int, torch.Tensor]]:
        """What was there before the step, parameters aside: number and value of each.

        Raises:
            TapeUnavailable: the script has overwritten one since.
        """
        return [(number, constant.value()) for number, constant in self._constants.items()]

    def has_constant(self, number: int | None) -> bool:
        """Whether the value was there before the step and the loss depends on it."""
        return number in self._constants

    def constant(self, number: int) -> torch.Tensor:
        """One of ``constants``."""
        return self._constants[number].value()

    @property
    def constant_bytes(self) -> int:
        """Memory of the constants the tape holds."""
        return sum(constant.bytes for constant in self._constants.values())

    @property
    def signature(self) -> tuple[str, ...]:
        """The operations in order, by which two steps are told to be of the same course."""
        return tuple(operation.name for operation in self.operations)

    @cached_property
    def _draws(self) -> bool:
        """Whether any operation draws random numbers."""
        return any(operation.random for operation in self.operations)

    def loss(
        self,
        parameters: Sequence[torch.Tensor] | None = None,
        *,
        change: Change | None = None,
        fixed: Sequence[torch.Tensor] | None = None,
        observe: Callable[[Operation, Any], None] | None = None,
        constants: Mapping[int, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """The loss at ``parameters`` (the step's own by default), a tensor of the step's shape.

        ``parameters`` correspond to ``self.parameters`` in order and shape; gradients flow to
        those that require them while grad mode is on. What the step computed without gradients
        (targets, averages) uses ``fixed`` instead when given. ``change`` alters what is computed:
        another precision, no dropout, operations that can be differentiated twice. ``observe`` is
        called with every operation and its result; ``constants`` replaces some of the values that
        were there before the step.

        Raises:
            TapeUnavailable: an operation cannot be replayed so, or its data has changed.
        """
        change = change or Change()
        given = self.parameters if parameters is None else parameters
        if len(given) != len(self.parameters):
            raise ValueError(f"{len(given)} tensors given for {len(self.parameters)} parameters")
        replaced = {**self.standing_in, **(constants or {})}
        values = self._start(given, change, replaced)
        without = values if fixed is None else self._start(fixed, change, replaced)
        differentiate = torch.is_grad_enabled()
        with ExitStack() as stack:
            stack.enter_context(_without_autocast(given))
            if self._draws:
                stack.enter_context(kept_random_state())
                torch.set_rng_state(self._random_state)
                if self._cuda_states:
                    torch.cuda.set_rng_state_all(self._cuda_states)
            try:
                self._run(values, without, change, differentiate, observe)
            finally:
                torch.set_grad_enabled(differentiate)
        loss: torch.Tensor = values[self._loss]
        return loss

    def gradients(
        self,
        parameters: Sequence[torch.Tensor] | None = None,
        *,
        change: Change | None = None,
        create_graph: bool = False,
    ) -> tuple[torch.Tensor, tuple[torch.Tensor | None, ...]]:
        """The loss and its gradients with respect to ``parameters``, None where none arrives.

        Raises:
            TapeUnavailable: as ``loss``, and where the step has a backward of its own.
        """
        if self.own_backward:
            raise TapeUnavailable(
                f"the backward pass of {self.own_backward} is the script's own and not on the tape"
            )
        given = tuple(self.parameters if parameters is None else parameters)
        with torch.enable_grad():
            leaves = [p if p.requires_grad else p.detach().requires_grad_() for p in given]
            loss = self.loss(leaves, change=change)
            if not loss.requires_grad:
                return loss.detach(), (None,) * len(leaves)
            found = torch.autograd.grad(loss, leaves, create_graph=create_graph, allow_unused=True)
        return (loss if create_graph else loss.detach()), found

    def _start(
        self,
        parameters: Sequence[torch.Tensor],
        change: Change,
        replaced: Mapping[int, torch.Tensor],
    ) -> list[Any]:
        values: list[Any] = [None] * self._size
        for number, parameter in zip(self._parameter_values, parameters, strict=True):
            values[number] = change.cast(parameter)
        for number, constant in self._constants.items():
            value = change.cast(replaced[number] if number in replaced else constant.value())
            values[number] = value.clone() if number in self._written else value
        return values

    def _run(
        self,
        values: list[Any],
        without: list[Any],
        change: Change,
        differentiate: bool,
        observe: Callable[[Operation, Any], None] | None,
    ) -> None:
        separate = without is not values
        fixed = set(self._parameter_values) if separate else set()
        paired = zip(self.operations, self._last_uses, strict=True)
        for position, (operation, done_with) in enumerate(paired):
            torch.set_grad_enabled(differentiate and operation.gradients)
            source = values
            if separate and not operation.gradients and fixed.intersection(operation.inputs):
                source = [without[n] if n in fixed else value for n, value in enumerate(values)]
            args = fill(operation.args, source)
            keywords = {key: fill(item, source) for key, item in operation.keywords.items()}
            replacement = self.rewritten.get(position)
            if replacement is None and change.any:
                replacement = substitute(operation, change)
            try:
                if replacement is None:
                    result = operation.function(*args, **keywords)
                else:
                    result = replacement(operation, args, keywords)
            except torch.cuda.OutOfMemoryError as error:
                raise TapeUnavailable("the device has not enough memory for a replay") from error
            except (RuntimeError, NotImplementedError, TypeError, ValueError, IndexError) as error:
                said = str(error).strip().splitlines()
                reason = f"{operation.name[6:]} cannot be replayed: {said[0] if said else error!r}"
                raise TapeUnavailable(reason) from error
            if observe is not None:
                observe(operation, result)
            _store(values, operation.outputs, result)
            for number in done_with:
                values[number] = None


def _store(values: list[Any], outputs: tuple[int | None, ...], result: Any) -> None:
    if len(outputs) == 1 and not isinstance(result, (list, tuple)):
        if outputs[0] is not None:
            values[outputs[0]] = result
        return
    position = 0
    for item in result if isinstance(result, (list, tuple)) else (result,):
        for tensor in item if isinstance(item, (list, tuple)) else (item,):
            number = outputs[position]
            if number is not None:
                values[number] = tensor
            position += 1


def _slice(
    loss: int, operations: Iterable[Operation], storage_of: tuple[int, ...]
) -> tuple[tuple[Operation, ...], set[int]]:
    """The operations ``loss`` depends on, and every value they use.

    An operation that writes into memory is needed when anything in that memory is.
    """
    needed, memory = {loss}, {storage_of[loss]}
    kept = []
    for operation in reversed(list(operations)):
        used = (
            operation.random
            or any(number in needed for number in operation.outputs if number is not None)
            or any(storage_of[number] in memory for number in operation.writes)
        )
        if used:
            kept.append(operation)
            needed.update(operation.inputs)
            memory.update(storage_of[number] for number in operation.inputs)
    kept.reverse()
    return tuple(kept), needed


def _last_uses(operations: tuple[Operation, ...], keep: set[int]) -> tuple[tuple[int, ...], ...]:
    """For every operation the values nothing later needs."""
    seen = set(keep)
    uses: list[tuple[int, ...]] = []
    for operation in reversed(operations):
        numbers = dict.fromkeys(
            (*operation.inputs, *(n for n in operation.outputs if n is not None))
        )
        uses.append(tuple(number for number in numbers if number not in seen))
        seen.update(numbers)
    uses.reverse()
    return tuple(uses)


def _without_autocast(tensors: Sequence[torch.Tensor]) -> ExitStack:
    """The casts are on the tape already."""
    stack = ExitStack()
    for device in {"cpu", *(tensor.device.type for tensor in tensors)}:
        stack.enter_context(torch.autocast(device, enabled=False))
    return stack
