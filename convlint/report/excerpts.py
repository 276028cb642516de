"""The parts of the source that findings speak of, with the lines around them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convlint.report.text import source_lines, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from convlint.findings import Finding, Location

CONTEXT = 5
"""Lines shown before and after a place."""

LONGEST_LINE = 400
"""A longer line is generated or data; nobody reads its end."""


@dataclass(frozen=True)
class Line:
    """One line: its number in the file and as shown, its text, and the severity of the finding
    there, empty for a place a finding also names, None for what is only around."""

    number: int
    shown: int
    text: str
    severity: str | None
    anchor: str


@dataclass(frozen=True)
class Excerpt:
    """Consecutive lines of one file, or of one cell of a notebook."""

    path: str
    lines: tuple[Line, ...]


def anchor_of(path: str, line: int) -> str:
    """The name of a line in the page; a digest stands for the path, which may hold anything."""
    return f"s{zlib.crc32(path.encode(errors='backslashreplace')):08x}-{line}"


def excerpts_of(findings: Iterable[Finding], texts: Mapping[str, str]) -> list[Excerpt]:
    """The source around every place of the findings, in order, overlapping parts joined.

    Cells of a notebook are files of their own. A file that cannot be read has no excerpt.
    """
    files: dict[tuple[str, int, int], dict[int, str]] = {}
    for finding in sorted(findings, key=lambda f: f.severity.rank):
        for related in finding.related:
            _lines_of(files, related.location).setdefault(related.location.line, "")
        _lines_of(files, finding.location)[finding.location.line] = finding.severity.value
    return [
        excerpt
        for (path, cell, before), marked in sorted(files.items())
        for excerpt in _of_file(path, cell, before, marked, texts.get(path))
    ]


def _lines_of(files: dict[tuple[str, int, int], dict[int, str]], place: Location) -> dict[int, str]:
    return files.setdefault((place.path, place.cell, place.cell_start), {})


def _of_file(
    path: str, cell: int, before: int, marked: Mapping[int, str], text: str | None
) -> Iterator[Excerpt]:
    source = source_lines(text, path)
    # Where a cell ends is not known here; lines of the next one would carry wrong numbers.
    after = 0 if cell else CONTEXT
    wanted = sorted(
        {
            line
            for place in marked
            if place <= len(source)
            for line in range(max(before + 1, place - CONTEXT), min(place + after, len(source)) + 1)
        }
    )
    shown = f"{path}:cell {cell}" if cell else path
    part: list[Line] = []
    for number in wanted:
        if part and number != part[-1].number + 1:
            yield Excerpt(shown, tuple(part))
            part = []
        text_of_line = visible(source[number - 1].rstrip())
        if len(text_of_line) > LONGEST_LINE:
            text_of_line = text_of_line[:LONGEST_LINE] + "…"
        anchor = anchor_of(path, number)
        part.append(Line(number, number - before, text_of_line, marked.get(number), anchor))
    if part:
        yield Excerpt(shown, tuple(part))
