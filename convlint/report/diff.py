"""Differences between two texts of one file, in the unified form every tool reads."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from convlint.report.text import Line

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_STYLES = {"+": "green", "-": "red", "@": "cyan"}


def unified(path: str, before: str, after: str) -> Iterator[str]:
    """The lines of a unified diff, without line ends; ``patch`` and ``git apply`` read it."""
    lines = difflib.unified_diff(
        _LINE.findall(before), _LINE.findall(after), fromfile=path, tofile=path
    )
    for number, line in enumerate(lines):
        yield line.removesuffix("\n")
        if number > 1 and not line.endswith(("\n", "\r")):
            yield "\\ No newline at end of file"


def styled(lines: Iterable[str]) -> Iterator[Line]:
    """``lines`` with what goes and what comes in colour."""
    for number, line in enumerate(lines):
        yield ((line, "bold" if number < 2 else _STYLES.get(line[:1], "")),)
