"""The constructor arguments of a scheduler, as the numbers its formula needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from convlint.program.facts import Object, Value

__all__ = ["CourseArguments", "Unfolded"]


class Unfolded(Exception):
    """An argument of the scheduler is not known."""


class CourseArguments:
    """The constructor arguments of one scheduler, as numbers."""

    def __init__(self, args: Mapping[str, Value]) -> None:
        self._args = args

    def given(self, name: str) -> bool:
        """Whether the argument was given and is not None."""
        value = self._args.get(name)
        return value is not None and not (value.known and value.constant is None)

    def number(self, name: str, default: float | None = None) -> float:
        """The argument as a float; ``default`` when it was not given."""
        value = self._args.get(name)
        if value is None:
            if default is None:
                raise Unfolded
            return default
        number = value.number
        if number is None:
            raise Unfolded
        return number

    def numbers(self, name: str) -> tuple[float, ...]:
        """The argument as a list of floats."""
        value = self._args.get(name)
        numbers = None if value is None else value.numbers
        if numbers is None:
            raise Unfolded
        return numbers

    def text(self, name: str, default: str) -> str:
        """The argument as a string; ``default`` when it was not given."""
        value = self._args.get(name)
        if value is None:
            return default
        if not isinstance(value.constant, str):
            raise Unfolded
        return value.constant

    def flag(self, name: str) -> bool:
        """The argument as a bool, False when it was not given."""
        value = self._args.get(name)
        if value is None:
            return False
        if not isinstance(value.constant, bool):
            raise Unfolded
        return value.constant

    def positive(self, name: str, default: float | None = None) -> float:
        """The argument as a float above zero (PyTorch would fail on any other)."""
        number = self.number(name, default)
        if number <= 0:
            raise Unfolded
        return number

    def tables(self, name: str) -> tuple[dict[int, float], ...]:
        """The argument as functions of the step, tabulated: one for all groups, or one each."""
        value = self._args.get(name)
        if value is None:
            raise Unfolded
        parts = (value,) if value.keys is not None else value.items or ()
        tables = tuple(_table(part) for part in parts)
        if not tables:
            raise Unfolded
        return tables

    def children(self, objects: Mapping[int, Object]) -> tuple[Object, ...]:
        """The schedulers given as ``schedulers``."""
        value = self._args.get("schedulers")
        if value is None or not value.items:
            raise Unfolded
        found = [objects.get(-1 if item.object is None else item.object) for item in value.items]
        children = tuple(child for child in found if child is not None)
        if len(children) != len(found):
            raise Unfolded
        return children


def _table(value: Value) -> dict[int, float]:
    numbers = value.numbers
    if value.keys is None or numbers is None:
        raise Unfolded
    return {
        step: number
        for step, number in zip(value.keys, numbers, strict=True)
        if isinstance(step, int)
    }
