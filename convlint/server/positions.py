"""Places of findings as places of the protocol, and back.

A finding counts lines and columns from 1 and columns in characters. The protocol counts both from
0, and columns in the units the editor asked for: UTF-16 code units unless agreed otherwise, so
that an emoji counts two.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lsprotocol import types

if TYPE_CHECKING:
    from convlint.findings import Location

_LINE_END = re.compile(r"\r\n|\r|\n")

Encoding = types.PositionEncodingKind | str


class Text:
    """The text of one document, asked about places in it."""

    def __init__(self, text: str, encoding: Encoding) -> None:
        self.text = text
        self.lines = _LINE_END.split(text)
        self._encoding = encoding

    def range(self, location: Location) -> types.Range:
        """Where ``location`` is; a place the text does not have is moved to the nearest it has."""
        start = self.position(location.line, location.column)
        end = self.position(location.end_line, location.end_column)
        if (end.line, end.character) < (start.line, start.character):
            end = start
        return types.Range(start, end)

    def position(self, line: int, column: int) -> types.Position:
        """The place in line ``line``, before its character ``column``, both from 1."""
        number = min(max(line, 1), len(self.lines))
        before = self.lines[number - 1][: max(column - 1, 0)] if number == line else ""
        return types.Position(number - 1, self._units(before))

    def column(self, position: types.Position) -> int:
        """The column, in characters from 1, of a place the editor names."""
        units = 0
        line = self.line(position.line)
        for column, character in enumerate(line, start=1):
            if units >= position.character:
                return column
            units += self._units(character)
        return len(line) + 1

    def line(self, number: int) -> str:
        """The line ``number``, from 0; empty beyond the end."""
        return self.lines[number] if 0 <= number < len(self.lines) else ""

    def whole(self) -> types.Range:
        """Everything."""
        last = self.lines[-1]
        return types.Range(
            types.Position(0, 0), types.Position(len(self.lines) - 1, self._units(last))
        )

    def _units(self, characters: str) -> int:
        if self._encoding == types.PositionEncodingKind.Utf8:
            return len(characters.encode(errors="surrogatepass"))
        if self._encoding == types.PositionEncodingKind.Utf32:
            return len(characters)
        return len(characters) + sum(ord(character) > 0xFFFF for character in characters)


def overlap(one: types.Range, other: types.Range) -> bool:
    """Whether two ranges share a place; an empty one does with what it touches."""
    return _key(one.start) <= _key(other.end) and _key(other.start) <= _key(one.end)


def _key(position: types.Position) -> tuple[int, int]:
    return (position.line, position.character)
