"""Options of rules: thresholds a user may set in ``rule-options`` of the configuration.

A rule declares an option as a class attribute and reads it from itself::

    limit = Option(1e-2, "The highest learning rate that is not reported.", least=0)
    ...
    if rate.number > self.limit:
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from convlint.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

Value = TypeVar("Value", bool, int, float, str, tuple[str, ...])

_KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a string",
    tuple: "a list of strings",
}


class Option(Generic[Value]):
    """One option: its default, which also gives its type, and what it means in one sentence.

    ``least`` and ``most`` bound numbers, both inclusive.
    """

    def __init__(
        self,
        default: Value,
        meaning: str,
        *,
        least: float | None = None,
        most: float | None = None,
    ) -> None:
        self.default: Value = default
        self.meaning = meaning
        self.least = least
        self.most = most
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name.replace("_", "-")

    @overload
    def __get__(self, rule: None, owner: type) -> Option[Value]: ...
    @overload
    def __get__(self, rule: object, owner: type) -> Value: ...
    def __get__(self, rule: object | None, owner: type) -> Option[Value] | Value:
        if rule is None:
            return self
        given: Value | None = vars(rule).get(self.name)
        return self.default if given is None else given

    @property
    def kind(self) -> str:
        """What may be given, in words: ``a number``."""
        return _KINDS[type(self.default)]

    def convert(self, value: Any, said_in: str) -> Value:
        """``value`` as the option's type.

        Raises:
            UserError: it is of another type or out of bounds.
        """
        wanted = type(self.default)
        taken: Any = value
        if wanted is float and type(value) is int:
            taken = float(value)
        elif wanted is tuple and isinstance(value, (list, tuple)):
            taken = tuple(value)
        if type(taken) is not wanted or (
            isinstance(taken, tuple) and not all(isinstance(item, str) for item in taken)
        ):
            raise UserError(f"{self.name}: expected {self.kind}, got {value!r}", path=said_in)
        number: Any = taken
        if self.least is not None and not number >= self.least:
            raise UserError(f"{self.name}: must be at least {self.least:g}", path=said_in)
        if self.most is not None and not number <= self.most:
            raise UserError(f"{self.name}: must be at most {self.most:g}", path=said_in)
        accepted: Value = taken
        return accepted


def options_of(rule: type) -> dict[str, Option[Any]]:
    """The options a class of rules declares, by the name a user writes."""
    return {
        found.name: found
        for cls in reversed(rule.__mro__)
        for found in vars(cls).values()
        if isinstance(found, Option)
    }


def converted(
    declared: Mapping[str, Option[Any]], given: Mapping[str, Any], said_in: str
) -> dict[str, Any]:
    """The ``given`` values by name, of the types the options have.

    Raises:
        UserError: an option is unknown, or its value is of another type or out of bounds.
    """
    values = {}
    for name, value in given.items():
        if name not in declared:
            near = did_you_mean(name, [*declared])
            why = near if declared else "; this rule has none"
            raise UserError(f"unknown option {name!r}{why}", path=said_in)
        values[name] = declared[name].convert(value, said_in)
    return values
