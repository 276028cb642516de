"""Leaves out what came out without the finite numbers it must have.

An answer holds NaN and infinity as ``None``. Where a number is promised that would make the whole of
it unreadable: one part that went wrong must not cost the others.
"""

from __future__ import annotations

import math
import sys
import types
import typing
from dataclasses import fields, is_dataclass, replace
from functools import cache
from typing import Any

from convlint.gpu_probes.observations import Observations, Skipped

INTERVAL = "ci"
"""One with an infinite end is left out of an answer by itself."""

REASON = "it came out without a finite value"


def sound(observations: Observations) -> Observations:
    """``observations`` without the parts that lack a number they promise; each is told as skipped."""
    lost: list[str] = []
    changes: dict[str, Any] = {}
    for name in _hints(Observations):
        value = getattr(observations, name)
        kept = _kept(value)
        if kept is not value and kept != value:
            changes[name] = kept
            lost.append(name.replace("_", " "))
    if not changes:
        return observations
    skipped = (*observations.skipped, *(Skipped(name, REASON) for name in lost))
    return replace(observations, **changes, skipped=skipped)


def _kept(value: Any) -> Any:
    """The part of a field that is sound: entries of a tuple one by one, anything else whole."""
    if is_dataclass(value):
        return value if _complete(value) else None
    if isinstance(value, tuple) and any(is_dataclass(entry) for entry in value):
        return tuple(entry for entry in value if not is_dataclass(entry) or _complete(entry))
    return value


def _complete(instance: Any) -> bool:
    """Whether every number that ``instance`` promises is finite, in what it holds too."""
    cls: Any = type(instance)
    return all(
        _fits(getattr(instance, name), hint)
        for name, hint in _hints(cls).items()
        if name != INTERVAL
    )


def _fits(value: Any, hint: Any) -> bool:
    if is_dataclass(value):
        return _complete(value)
    if isinstance(value, float) and not math.isfinite(value):
        return type(None) in _alternatives(hint)
    if isinstance(value, tuple):
        of = [h for h in _alternatives(hint) if typing.get_origin(h) is tuple]
        entries = typing.get_args(of[0]) if of else (Any,)
        if Ellipsis in entries or len(entries) != len(value):
            entries = (entries[0],) * len(value)
        return all(_fits(entry, h) for entry, h in zip(value, entries, strict=True))
    return True


def _alternatives(hint: Any) -> tuple[Any, ...]:
    origin = typing.get_origin(hint)
    return typing.get_args(hint) if origin in (typing.Union, types.UnionType) else (hint,)


@cache
def _hints(cls: Any) -> dict[str, Any]:
    known = typing.get_type_hints(cls, vars(sys.modules[cls.__module__]))
    return {field.name: known[field.name] for field in fields(cls)}
