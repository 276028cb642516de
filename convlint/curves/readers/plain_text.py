"""What training loops print: ``loss: 0.123``, ``step 10: train loss 2.3, val loss 2.4``, ``{'loss': 1}``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from convlint.curves.naming import role_of
from convlint.curves.readers.text import number
from convlint.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.curves.readers.text import Peeked, Row

_NUMBER = r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?)|[-+]?(?:nan|inf(?:inity)?)\b"
_METRIC = re.compile(
    r"(?P<name>[A-Za-z_][\w./@-]*(?:[ \t]+[A-Za-z_][\w./@-]*){0,2})['\"]?"
    r"(?:\s*[:=]+\s*|\s+|\s*\()"
    rf"(?:tensor\()?(?P<value>{_NUMBER})"
    r"(?![\w/:]|\.\d|[ \t]*(?:ms|sec|s|it/s|GB|MB)\b)",
    re.IGNORECASE,
)
_STEP = re.compile(
    r"\b(?P<name>global[_ ]step|step|iteration|iter|it|update|batch|epoch)s?\b['\"]?[\s:=#\[(]*(?P<value>\d+(?:\.\d+)?)",
    re.IGNORECASE,
)
_SPLIT = re.compile(
    r"\b(train|training|val|valid|validation|test|eval|evaluation|dev)\b", re.IGNORECASE
)
_FINE = ("global step", "step", "iteration", "iter", "it", "update", "batch")
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def rows(text: Peeked, pattern: str | None = None) -> Iterator[Row]:
    """One row for each line that says something.

    ``pattern`` is searched in each line; its named groups are the columns, and a group ``loss``
    is taken when there is one unnamed group.

    Raises:
        UserError: the pattern is none, or no line says anything.
    """
    wanted = None if pattern is None else _compiled(pattern)
    seen = False
    for line in text:
        plain = _ESCAPES.sub("", line)
        values = _found(plain) if wanted is None else _matched(wanted, plain)
        if values:
            seen = True
            yield text.line, values
    if not seen:
        text.line = 0
        if wanted is not None:
            raise text.mistake("--pattern matches no line with a number in its groups")
        raise text.mistake(
            "no line says a loss; name the numbers with --pattern 'step (?P<step>\\d+) .* loss (?P<loss>\\S+)'"
        )


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UserError(f"--pattern is no regular expression: {error}") from None
    if not compiled.groups:
        raise UserError("--pattern has no group to take a number from, such as (?P<loss>\\S+)")
    return compiled


def _matched(pattern: re.Pattern[str], line: str) -> dict[str, float]:
    found = pattern.search(line)
    if found is None:
        return {}
    groups: dict[str, str | None] = found.groupdict() or {"loss": found.group(1)}
    values = {name: number((group or "").strip(" ,;")) for name, group in groups.items()}
    return {name: value for name, value in values.items() if value is not None}


def _found(line: str) -> dict[str, float]:
    values: dict[str, float] = {}
    for metric in _METRIC.finditer(line):
        name = metric["name"].removesuffix("tensor").rstrip(" (")
        value = number(metric["value"])
        role = role_of(name)
        if value is None or role.quantity == "other":
            continue
        if not role.split and role.quantity in ("loss", "score"):
            before = _SPLIT.findall(line[: metric.start()])
            name = f"{before[-1].lower()} {name}" if before else name
        values.setdefault(" ".join(name.lower().split()), value)
    if not values:
        return {}
    for step in _STEP.finditer(line):
        name = step["name"].lower().replace("_", " ")
        counted = number(step["value"])
        if counted is not None:
            values.setdefault("step" if name in _FINE else name, counted)
    return values
