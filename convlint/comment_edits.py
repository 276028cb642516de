"""Edits of the comments that silence findings: taking names out, correcting them, adding them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from convlint.findings import Applicability, Edit, Fix, Location
from convlint.lazy_regex import lazy_regex
from convlint.suppressions import EVERYTHING, NOQA, OURS

if TYPE_CHECKING:
    from convlint.suppressions import Suppression

_LINE = lazy_regex(r"\r\n|\r|\n")


def remove_name(source: str, path: str, suppression: Suppression, name: str) -> Fix | None:
    """A safe fix that takes ``name`` out of its comment, the whole comment when it was the last.

    None when ``source`` does not have the comment where it is said to stand.
    """
    comment = _Comment.found(source, path, suppression)
    if comment is None:
        return None
    left = [other for other in comment.names if other.lower() != name]
    if name == EVERYTHING or not left:
        return Fix("remove the comment", (comment.removal(),), Applicability.SAFE)
    edit = comment.replaced_names(left)
    return Fix(f"take {name} out of the comment", (edit,), Applicability.SAFE)


def correct_name(
    source: str, path: str, suppression: Suppression, name: str, nearest: str
) -> Fix | None:
    """An unsafe fix: write ``nearest`` in place of ``name``, or take it out when that is empty or
    there already. Unsafe, because it is a guess what was meant."""
    if not nearest or nearest in suppression.names:
        removed = remove_name(source, path, suppression, name)
        if removed is None:
            return None
        return Fix(removed.message, removed.edits, Applicability.UNSAFE)
    comment = _Comment.found(source, path, suppression)
    if comment is None:
        return None
    names = [nearest if other.lower() == name else other for other in comment.names]
    return Fix(f"write {nearest}", (comment.replaced_names(names),), Applicability.UNSAFE)


class _Comment:
    """A comment that silences, as it stands in the text of its file."""

    def __init__(
        self, path: str, number: int, line: str, ending: str, match: re.Match[str], listed: int
    ) -> None:
        self._path = path
        self._number = number
        self._line = line
        self._ending = ending
        self._match = match
        self._listed = listed

    @classmethod
    def found(cls, source: str, path: str, suppression: Suppression) -> _Comment | None:
        """The comment of ``suppression``; None when the text has none there."""
        number = suppression.comment_line
        lines = _LINE.split(source)
        if number > len(lines):
            return None
        line = lines[number - 1]
        pattern, listed = (NOQA, 1) if suppression.foreign else (OURS, 2)
        match = pattern.match(line, suppression.comment_columns[0] - 1)
        if match is None:
            return None
        return cls(path, number, line, "\n" if number < len(lines) else "", match, listed)

    @property
    def names(self) -> list[str]:
        """The names as they are written."""
        listed = self._match.group(self._listed)
        return [name for name in re.split(r"[\s,]+", listed or "") if name]

    def replaced_names(self, names: list[str]) -> Edit:
        """The list of names replaced by ``names``."""
        start, end = self._match.span(self._listed)
        return Edit(self._place(start, end), ", ".join(names))

    def removal(self) -> Edit:
        """The comment with its reason taken out, up to another comment on the same line; the whole
        line when nothing else is on it."""
        start = self._match.start()
        following = self._line.find("#", self._match.end())
        end = len(self._line) if following < 0 else following
        before = self._line[:start]
        if following >= 0:
            return Edit(self._place(start, end), "")
        if before.strip():
            return Edit(self._place(len(before.rstrip()), end), "")
        if self._ending:
            return Edit(Location(self._path, self._number, 1, self._number + 1, 1), "")
        return Edit(self._place(0, end), "")

    def _place(self, start: int, end: int) -> Location:
        return Location(self._path, self._number, start + 1, self._number, end + 1)
