"""The text of one file by place, with lines and columns as editors count them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Location
from convlint.lazy_regex import lazy_regex

if TYPE_CHECKING:
    import ast

_LINE = lazy_regex(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")

Span = tuple[int, int, int, int]
"""First line, first column, last line, column behind the end; all from 1."""


class SourceLines:
    """The lines of a file, and where syntax nodes stand in them."""

    def __init__(self, path: str, source: str) -> None:
        self.path = path
        self.source = source
        self._lines = _LINE.findall(source)

    def text(self, place: Location) -> str:
        """The source between two places; empty where the file has none."""
        if place.line == place.end_line:
            return self.line(place.line)[place.column - 1 : place.end_column - 1]
        parts = [self.line(place.line)[place.column - 1 :]]
        parts += [self.line(number) for number in range(place.line + 1, place.end_line)]
        parts.append(self.line(place.end_line)[: place.end_column - 1])
        return "".join(parts).replace("\r\n", "\n").replace("\r", "\n")

    def line(self, number: int) -> str:
        """A line with its end; empty where the file has none."""
        return self._lines[number - 1] if 1 <= number <= len(self._lines) else ""

    def line_text(self, line: int) -> str:
        """The text of a line without its end."""
        return self.line(line).rstrip("\r\n")

    def has_line_end(self, line: int) -> bool:
        """Whether a line ends with a line end (the last one may not)."""
        return self.line(line).endswith(("\r", "\n"))

    def span(self, node: ast.AST) -> Span:
        """Where a node of this file's tree stands."""
        line, end = node.lineno, node.end_lineno  # type: ignore[attr-defined]
        return (
            line,
            self._column(line, node.col_offset),  # type: ignore[attr-defined]
            end,
            self._column(end, node.end_col_offset),  # type: ignore[attr-defined]
        )

    def place(self, node: ast.AST) -> Location:
        """The same, as findings name it."""
        return Location(self.path, *self.span(node))

    def _column(self, line: int, offset: int) -> int:
        """Columns in characters, from the byte offsets of ``ast``."""
        text = self.line(line)
        if text.isascii():
            return offset + 1
        return len(text.encode()[:offset].decode(errors="replace")) + 1
