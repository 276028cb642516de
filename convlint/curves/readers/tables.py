"""CSV and TSV: Keras' CSVLogger, Lightning's metrics.csv, exports of trackers, hand-written ones."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from convlint.curves.readers.text import number

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from convlint.curves.readers.text import Peeked, Row

DELIMITERS = ",;\t|"


def begins_table(lines: Sequence[str]) -> bool:
    """Whether these first lines are a header and rows of as many cells, mostly numbers."""
    rows = [line for line in lines if line.strip() and not line.startswith("#")]
    if len(rows) < 2:
        return False
    delimiter = _delimiter(rows[0])
    if delimiter is None:
        return False
    header, first = (next(csv.reader([row], delimiter=delimiter)) for row in rows[:2])
    if (
        len(header) < 2
        or len(header) != len(first)
        or any(number(cell) is not None for cell in header)
    ):
        return False
    return any(number(cell) is not None for cell in first)


def rows(text: Peeked) -> Iterator[Row]:
    """One row for each line below a header; a header that comes again starts anew.

    Raises:
        UserError: there is no header, or a cell is broken beyond reading.
    """
    lines = (line for line in text if line.strip() and not line.startswith("#"))
    header: list[str] | None = None
    reader: Iterator[list[str]] | None = None
    first = next(lines, "")
    delimiter = _delimiter(first) or ","
    reader = csv.reader(_chained(first, lines), delimiter=delimiter)
    try:
        for cells in reader:
            if header is None:
                if any(number(cell) is not None for cell in cells):
                    raise text.mistake(
                        "the table has no header: its first line holds numbers; put the names of"
                        " its columns in front, or give --pattern '(?P<step>\\d+),(?P<loss>\\S+)'"
                    )
                header = [cell.strip() for cell in cells]
                continue
            if len(cells) == len(header) and [cell.strip() for cell in cells] == header:
                continue
            values = {}
            for name, cell in zip(header, cells, strict=False):
                if cell:
                    value = number(cell)
                    if value is None and delimiter == ";":
                        # Where lists are written so, a comma stands before the fraction.
                        value = number(cell.replace(",", ".", 1))
                    if value is not None:
                        values[name] = value
            if values:
                yield text.line, values
            elif _is_header(cells):
                # Appended to by a run with other columns.
                header = [cell.strip() for cell in cells]
    except csv.Error as error:
        raise text.mistake(f"cannot read the table: {error}") from None


def _is_header(cells: Sequence[str]) -> bool:
    return len(cells) > 1 and all(cell.strip() and number(cell) is None for cell in cells)


def _chained(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _delimiter(line: str) -> str | None:
    counts = {mark: line.count(mark) for mark in DELIMITERS}
    best = max(counts, key=lambda mark: counts[mark])
    return best if counts[best] else None
