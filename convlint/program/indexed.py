"""Arithmetic on values that differ from iteration to iteration of a loop of known length.

``lr = 0.1 * 0.5 ** (epoch // 10)`` inside ``for epoch in range(30)`` is thirty numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from convlint.program.domain import (
    BATCHES,
    UNKNOWN,
    Abstract,
    Batches,
    Const,
    Indexed,
    LoopRange,
    Seq,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["combined", "elements", "selected", "varies"]

_LONGEST = 512
"""Longer loops count steps, not epochs: their index stays unknown."""


def elements(loop: int, iterable: LoopRange) -> Indexed | None:
    """The index of a loop over a known range, or None when it is too long or too short."""
    if iterable.values is None or not 2 <= len(iterable.values) <= _LONGEST:
        return None
    return Indexed(loop, tuple(iterable.values))


def varies(*values: Abstract) -> bool:
    """Whether some value differs by iteration, or counts the batches of a loader."""
    return any(isinstance(value, (Indexed, Batches)) for value in values)


def combined(function: Callable[..., Any] | None, values: tuple[Abstract, ...]) -> Abstract:
    """``function`` of values that vary over one loop and of constants; unknown otherwise."""
    if function is None:
        return UNKNOWN
    if any(isinstance(value, Batches) for value in values):
        scaled = all(isinstance(value, (Batches, Const)) for value in values)
        return BATCHES if scaled else UNKNOWN
    loops = {value.loop for value in values if isinstance(value, Indexed)}
    if len(loops) != 1:
        return UNKNOWN
    loop = loops.pop()
    count = next(len(value.values) for value in values if isinstance(value, Indexed))
    columns: list[tuple[Any, ...]] = []
    for value in values:
        if isinstance(value, Indexed):
            columns.append(value.values)
        else:
            constant = _plain(value)
            if constant is _NOT_PLAIN:
                return UNKNOWN
            columns.append((constant,) * count)
    results: list[Any] = []
    for row in zip(*columns, strict=True):
        try:
            result = function(*row)
        except (ArithmeticError, TypeError, ValueError):
            return UNKNOWN
        if not isinstance(result, (bool, int, float, str)):
            return UNKNOWN
        results.append(result)
    return Indexed(loop, tuple(results))


def selected(test: Indexed, body: Abstract, otherwise: Abstract) -> Abstract:
    """``body if test else otherwise`` where the test is known for every iteration."""
    return combined(lambda chosen, a, b: a if chosen else b, (test, body, otherwise))


_NOT_PLAIN: Any = object()


def _plain(value: Abstract) -> Any:
    if isinstance(value, Const):
        return value.value
    if isinstance(value, Seq) and value.complete:
        items = tuple(_plain(item) for item in value.items)
        return _NOT_PLAIN if _NOT_PLAIN in items else items
    return _NOT_PLAIN
