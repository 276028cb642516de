"""What is known of the value of an expression, and where it came from."""

from __future__ import annotations

from typing import Union

import msgspec

from convlint.findings import Location

Scalar = Union[bool, int, float, str, None]  # noqa: UP007 - msgspec resolves it at run time


class Origin(msgspec.Struct, frozen=True):
    """Where a constant came from, in words a message can cite.

    ``kind`` is one of ``literal``, ``module constant``, ``computed``, ``library default``,
    ``function default``, ``dataclass default`` (any class with fields), ``argparse default``,
    ``click default``, ``typer default``, ``absl default``, ``environment default`` and ``file``
    (YAML, JSON or TOML). ``text`` reads like ``default of --lr, line 12`` or
    ``optim.lr in conf/config.yaml, line 4``.
    """

    kind: str
    text: str = ""
    location: Location | None = None


class Value(msgspec.Struct, frozen=True):
    """What is known of an expression's value.

    Exactly one of these holds:

    * unknown: every field has its default;
    * constant(s): ``candidates`` holds one value, or the few values it can take;
    * an object: ``object`` is its number in ``TrainingProgram.objects``; with ``optional``, some runs
      surely have None instead;
    * a tensor: ``flow`` is its number in ``TrainingProgram.flows``;
    * a list, tuple or dict display: ``items`` (and ``keys`` for a dict);
    * a function of the step given to ``LambdaLR`` or ``MultiplicativeLR``: ``keys`` are steps and
      ``items`` its values there, from 0 on, with gaps where they grow large;
    * a constant for each iteration of a loop: ``items`` in order, ``loop`` its number;
    * a number not known that counts the batches of a loader: ``name`` is ``<batches>``;
    * something of a library: ``name`` is the qualified name, as in ``torch.float16``;
    * a function or class of the project: ``name`` is its qualified name, ``project`` is true.
    """

    candidates: tuple[Scalar, ...] = ()
    object: int | None = None
    flow: int | None = None
    items: tuple[Value, ...] | None = None
    keys: tuple[Scalar, ...] | None = None
    name: str | None = None
    optional: bool = False
    project: bool = False
    loop: int | None = None
    origin: Origin | None = None
    location: Location | None = None

    @property
    def known(self) -> bool:
        """True when this is exactly one constant."""
        return len(self.candidates) == 1

    @property
    def constant(self) -> Scalar:
        """The constant, or None when it is not exactly one (test ``known`` first)."""
        return self.candidates[0] if len(self.candidates) == 1 else None

    @property
    def number(self) -> float | None:
        """The constant as a float when it is exactly one number (bools are not numbers)."""
        value = self.constant
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        return float(value)

    @property
    def numbers(self) -> tuple[float, ...] | None:
        """The items as floats when this is a display of numbers, else None."""
        if self.items is None:
            return None
        numbers = [item.number for item in self.items]
        return tuple(n for n in numbers if n is not None) if None not in numbers else None


UNKNOWN = Value()
