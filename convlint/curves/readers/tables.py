"""CSV and TSV: Keras' CSVLogger, Lightning's metrics.csv, exports of trackers, hand-written ones;
tables as fastai, pandas or Markdown print them, with spaces or bars between columns; and the files
of one metric that MLflow keeps."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import TYPE_CHECKING

from convlint.curves.naming import is_step, role_of
from convlint.curves.readers.text import number

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from convlint.curves.readers.text import Peeked, Row

DELIMITERS = ",;\t|"

_RULE = re.compile(r"[\s|:+=-]*-[\s|:+=-]*$")
"""The line that stands under a header, or around a table."""

_GROUPED = re.compile(r"[1-9]\d{0,2}(,\d{3})+$")
"""A whole number whose thousands are set apart."""

_EXPORTED = ["wall time", "step", "value"]
"""The columns of a curve that TensorBoard's page exports; what it is stands in the file's name,
``run-RUN-tag-TAG.csv``."""


_METRIC_FILE = re.compile(r"\d{13} \S+ \d+\s*$")
"""A line of a metric that MLflow keeps: milliseconds since 1970, value, step."""

_LONG_NAMES = ("key", "metric", "metric_name", "tag")
"""Columns that name the curve whose number stands under ``value``."""

_ERRORS = {"learn_error": "train", "test_error": "test"}
"""CatBoost's files of one data set each."""


def begins_metric_file(lines: Sequence[str]) -> bool:
    """Whether this is one of the files MLflow writes, one for each metric."""
    return bool(lines) and _METRIC_FILE.match(lines[0]) is not None


def begins_table(lines: Sequence[str]) -> bool:
    """Whether these first lines are a header and rows of as many cells, mostly numbers."""
    rows = [_plain(line) for line in lines if _says_something(line)]
    if len(rows) < 2:
        return False
    delimiter = _delimiter(rows[0])
    if delimiter is None:
        return begins_spaced_table(rows)
    header, first = (next(csv.reader([row], delimiter=delimiter)) for row in rows[:2])
    if (
        len(header) < 2
        or len(header) != len(first)
        or any(number(cell) is not None for cell in header)
        # Only the column that counts the rows goes without a name.
        or not all(name.strip() for name in header[1:])
    ):
        return False
    return any(number(cell) is not None for cell in first)


def rows(text: Peeked) -> Iterator[Row]:
    """One row for each line below a header; a header that comes again starts anew.

    Raises:
        UserError: there is no header, or a cell is broken beyond reading.
    """
    if begins_metric_file(text.peeked):
        yield from _metric_file(text)
        return
    lines = (_plain(line) for line in text if _says_something(line))
    header: list[str] | None = None
    reader: Iterator[list[str]] | None = None
    first = next(lines, "")
    delimiter = _delimiter(first)
    if delimiter is None and begins_spaced_table([_plain(line) for line in text.peeked]):
        yield from _spaced(text, first, lines)
        return
    delimiter = delimiter or ","
    reader = csv.reader(_chained(first, lines), delimiter=delimiter)
    try:
        for cells in reader:
            if header is None:
                if any(number(cell) is not None for cell in cells):
                    raise text.mistake(
                        "the table has no header: its first line holds numbers; put the names of"
                        " its columns in front, or give --pattern '(?P<step>\\d+),(?P<loss>\\S+)'"
                    )
                header = _named(text.path, [cell.strip() for cell in cells])
                continue
            if len(cells) == len(header) and [cell.strip() for cell in cells] == header:
                continue
            values = {}
            for name, cell in zip(header, cells, strict=False):
                if cell:
                    value = number(cell)
                    if value is None and "," in cell:
                        value = _with_commas(cell.strip(), delimiter)
                    if value is not None:
                        values[name] = value
            if values:
                yield text.line, _of_its_series(values, header, cells)
            elif _is_header(cells):
                # Appended to by a run with other columns.
                header = [cell.strip() for cell in cells]
    except csv.Error as error:
        raise text.mistake(f"cannot read the table: {error}") from None


def begins_spaced_table(rows: Sequence[str]) -> bool:
    """Whether spaces part names from one another in the first of these lines, numbers below."""
    split = [row.split() for row in rows if _says_something(row)][:3]
    if len(split) < 2 or len(split[0]) < 2:
        return False
    header, first = split[0], split[1]
    known = any(role_of(name).quantity in ("loss", "score") for name in header)
    # pandas numbers the rows and gives that column no name.
    fits = all(len(row) - len(header) in (0, 1) for row in split[1:])
    return (
        known
        and fits
        and not any(number(name) is not None for name in header)
        and sum(number(cell) is not None for cell in first) > len(first) // 2
    )


def _spaced(text: Peeked, first: str, lines: Iterator[str]) -> Iterator[Row]:
    header = first.split()
    for line in lines:
        cells = line.split()
        if len(cells) - len(header) not in (0, 1):
            continue
        values = {
            name: value
            for name, cell in zip(header, cells[len(cells) - len(header) :], strict=True)
            if (value := number(cell)) is not None
        }
        if values:
            yield text.line, values


def _says_something(line: str) -> bool:
    return bool(line.strip()) and not line.startswith("#") and not _RULE.match(line)


def _plain(line: str) -> str:
    """The line without the bars that frame a Markdown table's row."""
    stripped = line.strip()
    return (
        stripped[1:-1] + "\n" if len(stripped) > 1 and stripped[0] == stripped[-1] == "|" else line
    )


def _named(path: str, header: list[str]) -> list[str]:
    """The header, with the name of the curve for what TensorBoard calls ``Value``, and the split
    of what CatBoost keeps in a file of its own."""
    if split := _ERRORS.get(Path(path).stem):
        return [header[0], *(f"{split} {name}" for name in header[1:])]
    if [name.lower() for name in header] != _EXPORTED:
        return header
    run, _, tag = Path(path).stem.removeprefix("run-").partition("-tag-")
    return [*header[:2], f"{run}/{tag}".strip("/") or header[2]]


def _of_its_series(
    values: dict[str, float], header: Sequence[str], cells: Sequence[str]
) -> dict[str, float]:
    """The number of a table with one number a row, by the name that stands beside it."""
    names = [name.lower() for name in header]
    series = next((names.index(name) for name in _LONG_NAMES if name in names), len(cells))
    if "value" not in names or series >= len(cells) or number(cells[series]) is not None:
        return values
    return {
        cells[series].strip() if name.lower() == "value" else name: value
        for name, value in values.items()
        if name.lower() == "value" or is_step(name)
    }


def _metric_file(text: Peeked) -> Iterator[Row]:
    """MLflow keeps a metric under its name, below ``metrics``."""
    parts = Path(text.path).parts
    below = parts.index("metrics") + 1 if "metrics" in parts[:-1] else -1
    name = "/".join(parts[below:])
    for line in text:
        cells = line.split()
        value = number(cells[1]) if len(cells) == 3 else None
        step = number(cells[2]) if value is not None else None
        if value is not None and step is not None:
            yield text.line, {"step": step, name: value}


def _with_commas(cell: str, delimiter: str) -> float | None:
    """A number with a comma before its fraction, or between its thousands."""
    if delimiter != ";" and _GROUPED.match(cell):
        return number(cell.replace(",", ""))
    # Where lists are written with semicolons, a comma stands before the fraction.
    return number(cell.replace(",", ".", 1))


def _is_header(cells: Sequence[str]) -> bool:
    return len(cells) > 1 and all(cell.strip() and number(cell) is None for cell in cells)


def _chained(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _delimiter(line: str) -> str | None:
    counts = {mark: line.count(mark) for mark in DELIMITERS}
    best = max(counts, key=lambda mark: counts[mark])
    return best if counts[best] else None
