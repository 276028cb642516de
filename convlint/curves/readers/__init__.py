"""Readers of training logs: bytes in, rows of numbers out, one at a time.

A row is the line it stands on and its numbers by name. A reader judges nothing and keeps nothing.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from convlint.curves.readers import event_files, json_records, plain_text, ruled_tables, tables
from convlint.curves.readers.text import Peeked, opened
from convlint.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from convlint.curves.readers.text import Row

FORMATS = ("csv", "json-lines", "json", "tensorboard", "text")
STDIN = "-"


class Log(NamedTuple):
    """Rows to come, and what they are read from."""

    format: str
    rows: Iterator[Row]
    planned_steps: float | None = None
    remarks: Sequence[str] = ()
    """What there is to say of the log itself, complete when all rows are read."""


def open_log(path: str, *, format: str | None = None, pattern: str | None = None) -> Log:
    """The log at ``path`` (``-``: standard input); its format is told by name and content.

    ``format`` is one of ``FORMATS``; ``pattern`` a regular expression with named groups for lines
    of plain text.

    Raises:
        UserError: it is missing, empty, unreadable, or holds nothing this can read; also while
            the rows are read.
    """
    file = Path(path)
    remarks: list[str] = []
    if path != STDIN:
        if file.is_dir():
            return Log("tensorboard", event_files.rows_of_directory(file, remarks), None, remarks)
        if not file.exists():
            raise UserError("no such file or directory", path=path)
        if format == "tensorboard" or (format is None and event_files.is_event_file(file)):
            return Log("tensorboard", event_files.rows(file, remarks), None, remarks)
        if not os.access(file, os.R_OK):
            raise UserError("cannot read: permission denied", path=path)
    elif format == "tensorboard":
        raise UserError("event files are read from disk, not from standard input", path=path)
    text = opened(path, sys.stdin.buffer if path == STDIN else file.open("rb"))
    if text.is_empty:
        raise UserError("the log is empty", path=path)
    chosen = format or ("text" if pattern else _told_by_content(file, text))
    if chosen == "json":
        return Log("json", *json_records.document(text))
    if chosen == "json-lines":
        return Log("json-lines", json_records.lines(text))
    if chosen == "csv" and ruled_tables.begins_ruled_table(text.peeked):
        return Log("csv", ruled_tables.rows(text))
    if chosen == "csv":
        return Log("csv", tables.rows(text))
    return Log("text", plain_text.rows(text, pattern))


def _told_by_content(file: Path, text: Peeked) -> str:
    """``csv``, ``json-lines``, ``json`` or ``text``."""
    suffix = file.suffix.lower()
    first = next((line for line in text.peeked if line.strip()), "").lstrip()
    if suffix in (".jsonl", ".ndjson") or json_records.begins_records(text.peeked):
        return "json-lines"
    if suffix == ".json" or json_records.begins_document(first):
        return "json"
    if suffix in (".csv", ".tsv") or tables.begins_table(text.peeked):
        return "csv"
    if ruled_tables.begins_ruled_table(text.peeked) or tables.begins_metric_file(text.peeked):
        return "csv"
    return "text"
