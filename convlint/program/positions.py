"""Where syntax nodes stand in the source, and how they are written there.

Python counts the columns of a node in bytes of UTF-8; people, editors and edits count characters.
The two differ only on lines that are not ASCII.
"""

from __future__ import annotations

import ast
from functools import cached_property

from convlint.findings import Location
from convlint.lazy_regex import lazy_regex

_LINE_END = lazy_regex(r"\r\n|\r|\n")
_DEFINED_NAME = lazy_regex(r"(?:async[\s\\]+)?(?:def|class)[\s\\]+(\w+)")


class Positions:
    """Locations and texts of the nodes of one file."""

    def __init__(self, source: str, path: str) -> None:
        self._source = source
        self._path = path
        self._ascii = source.isascii()
        self._known: dict[int, Location] = {}

    def of(self, node: ast.AST) -> Location:
        """The location of ``node``, which must belong to this file; a module's is all of it."""
        location = self._known.get(id(node))
        if location is None:
            location = self._known[id(node)] = self._locate(node)
        return location

    def of_name(
        self, definition: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    ) -> Location:
        """The location of the name that a ``class`` or ``def`` statement defines."""
        start, _ = self._span(definition)
        found = _DEFINED_NAME.match(self._source, start)
        if found is None:
            return self.of(definition)
        line, column = definition.lineno, self._column(definition.lineno, definition.col_offset)
        before = self._source[start : found.start(1)]
        if breaks := [end.end() for end in _LINE_END.finditer(before)]:
            line, column = line + len(breaks), 1 - breaks[-1]
        column += len(before)
        return Location(self._path, line, column, line, column + len(found[1]))

    def text(self, node: ast.AST) -> str:
        """The source of ``node`` as it is written, without parentheses around it."""
        if isinstance(node, ast.Module):
            return self._source
        return self._source[slice(*self._span(node))]

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(end.end() for end in _LINE_END.finditer(self._source))]

    def _locate(self, node: ast.AST) -> Location:
        if isinstance(node, ast.Module):
            last = len(self._line_starts)
            return Location(
                self._path, 1, 1, last, len(self._source) - self._line_starts[last - 1] + 1
            )
        line, end_line = node.lineno, node.end_lineno  # type: ignore[attr-defined]
        return Location(
            self._path,
            line,
            self._column(line, node.col_offset),  # type: ignore[attr-defined]
            end_line,
            self._column(end_line, node.end_col_offset),  # type: ignore[attr-defined]
        )

    def _span(self, node: ast.AST) -> tuple[int, int]:
        place, starts = self.of(node), self._line_starts
        return (
            starts[min(place.line, len(starts)) - 1] + place.column - 1,
            starts[min(place.end_line, len(starts)) - 1] + place.end_column - 1,
        )

    def _column(self, line: int, offset: int) -> int:
        """The column, from 1, of the character at a byte offset of a line."""
        if self._ascii or line > len(self._line_starts):
            return offset + 1
        start = self._line_starts[line - 1]
        # A character has at least one byte, so these are enough of the line.
        beginning = self._source[start : start + offset]
        if beginning.isascii():
            return offset + 1
        return len(beginning.encode()[:offset].decode(errors="ignore")) + 1
