"""What a tape holds: aten operations over numbered values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

Function = Any
"""A ``torch._ops.OpOverload``: one aten operation, as it is dispatched."""

UNDECLARED_WRITES = {
    "aten::native_batch_norm": (3, 4),
    "aten::cudnn_batch_norm": (3, 4),
    "aten::miopen_batch_norm": (3, 4),
}
"""Positions of arguments (running mean and variance) an operation writes without its schema
saying so."""

STORAGE_CHANGES = frozenset({"aten::set_", "aten::resize_", "aten::resize_as_"})
"""Operations after which a value is no longer where it was; a tape cannot follow them."""


CUDNN_RECURRENT = "aten::_cudnn_rnn"
"""cuDNN's recurrent layers take their weights as a list and once more in the one buffer in which
these lie, a tensor made at every call."""

COMMUNICATION = ("c10d::", "_c10d_functional", "c10d_functional", "fsdp::")
"""Beginnings of operations that take other processes to run, and so cannot be replayed alone."""

BROADCAST = "c10d::broadcast_"
"""The communication that leaves the tensors of the process it comes from as they are."""


class TapeUnavailable(Exception):
    """The step cannot be recorded or replayed; ``reason`` is one line for the user."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Reference(int):
    """Stands for a tensor in recorded arguments: the number of its value.

    An integer of its own class costs the garbage collector nothing.
    """

    __slots__ = ()

    @property
    def value(self) -> int:
        """The number."""
        return int(self)


class Operation(NamedTuple):
    """One recorded operation; thousands are made in a step, and a tuple is made fastest.

    ``args`` and ``keywords`` are the arguments with every tensor replaced by a ``Reference``;
    ``outputs`` are the numbers of the tensors it returned, in order (None for anything else);
    ``gradients`` is the grad mode it ran in; ``writes`` are the values it changes in place;
    ``dtype`` is the type of its first output; ``source`` is what the recorder's ``where`` said
    when it ran.
    """

    function: Function
    args: tuple[Any, ...]
    keywords: dict[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int | None, ...]
    gradients: bool
    writes: tuple[int, ...]
    random: bool
    dtype: torch.dtype | None = None
    strides: tuple[int, ...] | None = None
    source: Any = None

    @property
    def name(self) -> str:
        """The schema's name, as in ``aten::addmm``."""
        return str(self.function._schema.name)


@dataclass(frozen=True, slots=True)
class Traits:
    """What is known of an operation before it runs: which arguments it writes, whether it draws
    random numbers, whether it takes a ``dtype``, whether it is more than a computation in this
    process."""

    name: str
    written_positions: tuple[int, ...]
    written_keywords: tuple[str, ...]
    random: bool
    takes_dtype: bool
    special: bool


# By identity, for the hash of an operation is computed in Python; the operation beside its traits
# keeps the identity from being used again.
_known: dict[int, tuple[Function, Traits]] = {}


def traits(function: Function) -> Traits:
    """The traits of one aten operation, from its schema."""
    known = _known.get(id(function))
    if known is None:
        known = _known[id(function)] = function, _traits(function)
    return known[1]


def _traits(function: Function) -> Traits:
    schema = function._schema
    positions, keywords = [], []
    for position, argument in enumerate(schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            keywords.append(argument.name)
            if not argument.kwarg_only:
                positions.append(position)
    positions += UNDECLARED_WRITES.get(schema.name, ())
    return Traits(
        name=schema.name,
        written_positions=tuple(positions),
        written_keywords=tuple(keywords),
        random=torch.Tag.nondeterministic_seeded in function.tags,
        takes_dtype=any(argument.name == "dtype" for argument in schema.arguments),
        special=schema.name in STORAGE_CHANGES
        or schema.name == CUDNN_RECURRENT
        or schema.name.startswith(COMMUNICATION),
    )


def map_tensors(value: Any, change: Callable[[torch.Tensor], Any]) -> Any:
    """``value`` with every tensor in it, however nested in lists, tuples and dicts, changed."""
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, (list, tuple)):
        return type(value)(map_tensors(item, change) for item in value)
    if isinstance(value, dict):
        return {key: map_tensors(item, change) for key, item in value.items()}
    return value


def fill(value: Any, values: list[Any]) -> Any:
    """Recorded arguments with every reference replaced by its value."""
    if type(value) is Reference:
        return values[value]
    if type(value) is list or type(value) is tuple:
        return type(value)(fill(item, values) for item in value)
    return value
