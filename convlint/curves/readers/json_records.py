"""JSON lines, and JSON documents: Hugging Face's trainer_state.json, Keras histories, results of
gradient boosting, lists."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from convlint.curves.readers import boosted_trees
from convlint.curves.readers.text import number

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from convlint.curves.readers.text import Peeked, Row

MOST_LEFT_OUT = 0.2
"""Share of lines that may be no record (text among them, a last line cut off)."""


def is_record(line: str) -> bool:
    """Whether one line is a whole JSON object with a number in it."""
    if not line.startswith("{"):
        return False
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return False
    if not isinstance(record, dict) or any(isinstance(entry, list) for entry in record.values()):
        return False
    return any(number(entry) is not None for entry in record.values())


def begins_records(lines: Sequence[str]) -> bool:
    """Whether a log begins with a record a line; lists in them (scores by class) say so only where
    the next line is a record too, since one alone may hold whole columns."""
    first, second = (*(line.strip() for line in lines if line.strip()), "", "")[:2]
    if is_record(first):
        return True
    try:
        return all(isinstance(json.loads(line), dict) for line in (first, second))
    except (ValueError, RecursionError):
        return False


def begins_document(line: str) -> bool:
    """Whether a JSON value begins here, rather than Python or prose."""
    return line[:2] in ('{"', "[{", "[]", "{}") or line.strip() in ("{", "[")


def lines(text: Peeked) -> Iterator[Row]:
    """One row for each line that is a JSON object; nested objects as ``outer/inner``.

    Raises:
        UserError: too many lines are no JSON object.
    """
    good = bad = 0
    first_bad = 0
    for line in text:
        stripped = line.strip()
        if not stripped:
            continue
        try:
            record = json.loads(stripped)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            bad += 1
            first_bad = first_bad or text.line
            continue
        good += 1
        values = dict(_numbers(record))
        if values:
            yield text.line, values
    if bad > max(1.0, MOST_LEFT_OUT * (good + bad)):
        text.line = first_bad
        raise text.mistake(f"{bad} of {good + bad} lines are no JSON object")


def document(text: Peeked) -> tuple[Iterator[Row], float | None]:
    """The rows of a whole document, and the planned number of steps where it says so.

    Raises:
        UserError: it is no JSON, or none of the known shapes.
    """
    whole = text.whole()
    try:
        value = json.loads(whole)
    except ValueError as error:
        text.line = getattr(error, "lineno", 0)
        raise text.mistake(f"cannot parse: not JSON ({getattr(error, 'msg', error)})") from None
    except RecursionError:
        text.line = 0
        raise text.mistake("cannot parse: no log is nested so deep") from None
    planned = None
    if isinstance(value, dict):
        if isinstance(value.get("log_history"), list):
            planned = number(value.get("max_steps"))
            value = value["log_history"]
        elif isinstance(value.get("history"), dict):
            value = value["history"]
        elif (boosted := boosted_trees.catboost_records(value)) is not None:
            return boosted, None
    if isinstance(value, dict):
        columns = dict(_columns(value))
        if columns:
            return _by_column(columns), planned
    elif isinstance(value, list) and any(isinstance(entry, dict) for entry in value):
        return _by_row(value), planned if planned and planned > 0 else None
    text.line = 0
    raise text.mistake(
        "no log of a known shape: neither a list of records, nor columns, nor a trainer_state.json"
    )


def _columns(table: dict[str, Any], outer: str = "") -> Iterator[tuple[str, list[Any]]]:
    """The columns of a table; those of tables within it, such as boosting's results by data set and
    metric, as ``outer/inner``."""
    for name, entry in table.items():
        column = _column(entry)
        if column:
            yield f"{outer}{name}", column
        elif isinstance(entry, dict) and not outer:
            yield from _columns(entry, f"{name}/")


def _column(entry: Any) -> list[Any]:
    """A list, or what pandas' ``to_json`` makes of a column: ``{"0": 2.3, "1": 1.9}``."""
    if isinstance(entry, list):
        return entry
    if isinstance(entry, dict) and all(index.isdecimal() for index in entry):
        return [entry[index] for index in sorted(entry, key=int)]
    return []


def _by_row(records: list[Any]) -> Iterator[Row]:
    for index, record in enumerate(records, start=1):
        if isinstance(record, dict):
            values = dict(_numbers(record))
            if values:
                yield index, values


def _by_column(columns: dict[str, list[Any]]) -> Iterator[Row]:
    for index in range(max(len(column) for column in columns.values())):
        values = {"epoch": float(index + 1)}
        for name, column in columns.items():
            value = number(column[index]) if index < len(column) else None
            if value is not None:
                values[name] = value
        yield index + 1, values


def _numbers(record: dict[str, Any], outer: str = "") -> Iterator[tuple[str, float]]:
    for name, entry in record.items():
        if isinstance(entry, dict):
            yield from _numbers(entry, f"{outer}{name}/")
        elif entry is None:
            continue
        else:
            value = number(entry)
            if value is not None:
                yield f"{outer}{name}", value
