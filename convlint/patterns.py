"""Patterns of file names, as ``.gitignore`` writes them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from convlint.errors import UserError
from convlint.lazy_regex import lazy_regex

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from pathspec import GitIgnoreSpec

_SPECIAL = lazy_regex(r"[*?\[\]!\\/#]|^\s|\s$")


class Patterns:
    """Patterns relative to ``root``; the last that matches decides, ``!pattern`` takes back.

    Plain names and ``*.ending``, most of what is ever written, are looked up without pathspec:
    a walk asks about every file and directory it meets.
    """

    def __init__(self, patterns: tuple[str, ...], root: Path | str, said_in: str = "") -> None:
        """``said_in`` is where the user wrote them, for messages."""
        self.patterns = patterns
        self._said_in = said_in
        self._root = os.path.abspath(root)  # noqa: PTH100
        self._prefix = self._root if self._root.endswith(os.sep) else self._root + os.sep
        names: set[str] = set()
        directory_names: set[str] = set()
        endings: list[str] = []
        others: list[str] = []
        for pattern in patterns:
            bare = pattern.removesuffix("/")
            if not _SPECIAL.search(bare):
                (names if bare == pattern else directory_names).add(bare)
            elif pattern.startswith("*.") and not _SPECIAL.search(pattern[2:]):
                endings.append(pattern[1:])
            else:
                others.append(pattern)
        if any(pattern.startswith("!") for pattern in patterns):
            names, directory_names, endings, others = set(), set(), [], list(patterns)
        self._names = names
        self._directory_names = directory_names
        self._endings = tuple(endings)
        self._others = others
        self._spec: GitIgnoreSpec | None = None

    def __bool__(self) -> bool:
        return bool(self.patterns)

    def match(self, path: Path | str, *, directory: bool | None = None) -> bool:
        """Whether a pattern matches ``path`` or a directory it lies in, below the root.

        ``directory`` says what ``path`` is; None looks on the disk.
        """
        relative = self._relative(os.path.abspath(path))  # noqa: PTH100
        if not self.patterns or not relative:
            return False
        parts = relative.split(os.sep)  # noqa: PTH206
        if directory is None:
            directory = os.path.isdir(path)  # noqa: PTH112
        directories = parts if directory else parts[:-1]
        return (
            not self._names.isdisjoint(parts)
            or not self._directory_names.isdisjoint(directories)
            or (bool(self._endings) and any(part.endswith(self._endings) for part in parts))
            or (bool(self._others) and self._matches_spec(relative, directory))
        )

    def match_entry(self, path: str, name: str, *, directory: bool) -> bool:
        """Whether a pattern matches the file or directory ``name`` itself, met on a walk at
        ``path``; who names an excluded directory wants what is in it."""
        if (
            name in self._names
            or (directory and name in self._directory_names)
            or (self._endings and name.endswith(self._endings))
        ):
            return True
        relative = self._relative(os.path.abspath(path)) if self._others else ""  # noqa: PTH100
        if not relative or not self._matches_spec(relative, directory):
            return False
        parent, _, _ = relative.rpartition(os.sep)
        return not parent or not self._matches_spec(parent, True)

    def _relative(self, absolute: str) -> str:
        """``absolute`` from the root on; empty when it is not below it."""
        return absolute[len(self._prefix) :] if absolute.startswith(self._prefix) else ""

    def _matches_spec(self, relative: str, directory: bool) -> bool:
        if self._spec is None:
            self._spec = compiled(self._others, self._refuse)
        return self._spec.match_file(relative.replace(os.sep, "/") + ("/" if directory else ""))

    def _refuse(self, pattern: str) -> None:
        raise UserError(f"not a pattern: {pattern!r}", path=self._said_in)


def compiled(lines: Iterable[str], on_invalid: Callable[[str], None]) -> GitIgnoreSpec:
    """The patterns that pathspec understands; ``on_invalid`` is told of the others."""
    from pathspec import GitIgnoreSpec

    lines = list(lines)
    try:
        return GitIgnoreSpec.from_lines(lines)
    except ValueError:
        valid = []
        for line in lines:
            try:
                GitIgnoreSpec.from_lines([line])
            except ValueError:
                on_invalid(line)
            else:
                valid.append(line)
        return GitIgnoreSpec.from_lines(valid)
