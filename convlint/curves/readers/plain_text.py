"""What training loops print: ``loss: 0.123``, ``step 10: train loss 2.3, val loss 2.4``, ``{'loss': 1}``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from convlint.curves.naming import role_of
from convlint.curves.readers import boosted_trees
from convlint.curves.readers.text import number, without_escapes
from convlint.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from convlint.curves.readers.text import Peeked, Row

_NUMBER = r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?)|[-+]?(?:nan|inf(?:inity)?)\b"
_WORD = r"(?!(?:nan|inf)\b)[A-Za-z_][\w./@-]*(?:'s\b|\([A-Za-z_]+\))?"
_METRIC = re.compile(
    rf"(?P<name>{_WORD}(?:[ \t]+{_WORD}){{0,2}})['\"]?"
    r"(?:\s*(?:[:=]+>?|->|\u2192)\s*|\s+|\s*\()"
    rf"['\"]?(?:tensor\()?(?P<value>{_NUMBER})"
    r"(?![\w/:]|\.\d|[ \t]*(?:ms|sec|s|it/s|GB|MB)\b)",
    re.IGNORECASE,
)
_STEP = re.compile(
    r"\b(?P<name>global[_ ]step|step|iteration|iter|it|num_updates|update|batch|epoch|episode)s?\b['\"]?[\s:=#\[(]*['\"]?(?P<value>\d+(?:\.\d+)?)",
    re.IGNORECASE,
)
_SPLIT = re.compile(
    r"(?<![A-Za-z])(train|training|val|valid|validation|test|eval|evaluation|dev)(?![A-Za-z])",
    re.IGNORECASE,
)
_REPEATED = re.compile(r"\W*averaged? stats\b", re.IGNORECASE)
"""What a loop prints again at the end of an epoch, of training and of validation alike."""

_BOXED = re.compile(rf"^\s*\|\s*(?P<name>[A-Za-z][\w/. -]*?)\s*\|\s*(?P<value>{_NUMBER})\s*\|\s*$")
"""One number of a table with a name in each row, as loops of reinforcement learning print them."""

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z][a-z])")

_LLM_C = re.compile(r"^s:(?P<step>\d+) (?P<split>trl|tel):(?P<rest>.*)")
"""A line of llm.c's ``main.log``: step, then training or test loss."""

_COUNTED = re.compile(
    r"\b(?:at|after|in|for|on)\s+(?:global[_ ]step|step|iteration|iter|epoch|batch|update)s?$"
)
"""The end of a name whose number counts: ``loss at iteration 100``."""

_GROUPED = re.compile(r"(?<![\d.,])(\d{1,3}(?:,\d{3})+)(?=\.\d|(?![\d,]))")
_COMMA = re.compile(r"(?<![\d.,])(\d+),(\d+)(?![\d.]|,\d)")
_CLEARLY_COMMA = re.compile(r"[:=\s](?:0,\d+|\d+,(?:\d{1,2}|\d{4,}))(?![\d.]|,\d)")
_POINT = re.compile(r"\d\.\d")
_FINE = ("global step", "step", "iteration", "iter", "it", "num updates", "update", "batch")


def rows(text: Peeked, pattern: str | None = None) -> Iterator[Row]:
    """One row for each line that says something.

    ``pattern`` is searched in each line; its named groups are the columns, and a group ``loss``
    is taken when there is one unnamed group.

    Raises:
        UserError: the pattern is none, or no line says anything.
    """
    wanted = None if pattern is None else _compiled(pattern)
    seen = False
    comma = wanted is None and _has_decimal_commas(text.peeked)
    higher = wanted is None and boosted_trees.higher_is_better(text.peeked)
    heading, again = "", False
    for line in text:
        plain = without_escapes(line)
        if wanted is None:
            again, told = boosted_trees.repeats_best(plain), again
            if told and boosted_trees.is_round(plain):
                continue
            values = _found(_as_written(plain, comma=comma, higher=higher), heading)
            heading = _heading(plain)
        else:
            values = _matched(wanted, plain)
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


def _has_decimal_commas(lines: Sequence[str]) -> bool:
    """Whether a comma stands before the fraction: no number of these lines has a point instead."""
    shown = [without_escapes(line) for line in lines]
    return any(map(_CLEARLY_COMMA.search, shown)) and not any(
        _POINT.search(metric) for line in shown for metric in _values(line)
    )


def _values(line: str) -> Iterator[str]:
    """The numbers behind the names of losses and scores."""
    for metric in _METRIC.finditer(line):
        if role_of(metric["name"]).quantity in ("loss", "score"):
            yield metric["value"]


def _as_written(line: str, *, comma: bool, higher: bool) -> str:
    """The line with every number and name in the one form that is looked for."""
    if "," in line:
        if comma:
            line = _COMMA.sub(r"\1.\2", line)
        else:
            line = _GROUPED.sub(lambda group: group[1].replace(",", ""), line)
    if "|" in line and (boxed := _BOXED.match(line)):
        return f"{boxed['name']}: {boxed['value']}"
    if line.startswith("s:") and (found := _LLM_C.match(line)):
        split = "train" if found["split"] == "trl" else "val"
        return f"step {found['step']} {split} loss: {found['rest']}"
    return boosted_trees.as_written(line, higher=higher)


def _heading(line: str) -> str:
    """The split that a line without a number announces for the next one, such as ``Test Error:``."""
    if not line.rstrip().endswith(":") or any(map(str.isdigit, line)):
        return ""
    splits = _SPLIT.findall(line)
    return splits[-1].lower() if splits else ""


def _found(line: str, heading: str = "") -> dict[str, float]:
    values: dict[str, float] = {}
    if _REPEATED.match(line):
        return values
    for metric in _METRIC.finditer(line):
        name = metric["name"].removesuffix("tensor").rstrip(" (")
        value = number(metric["value"])
        role = role_of(name)
        if value is None or role.quantity == "other" or _COUNTED.search(name.lower()):
            continue
        if not role.split and role.quantity in ("loss", "score"):
            before = _SPLIT.findall(line[: metric.start()])
            split = before[-1].lower() if before else heading
            name = f"{split} {name}" if split else name
        values.setdefault(" ".join(_CAMEL.sub("_", name).lower().split()), value)
    if not values:
        return {}
    for step in _STEP.finditer(line):
        name = step["name"].lower().replace("_", " ")
        counted = number(step["value"])
        if counted is not None:
            values.setdefault("step" if name in _FINE else name, counted)
    return values
