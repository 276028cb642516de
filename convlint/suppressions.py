"""Comments that silence findings.

* ``# convlint: ignore[slug-or-code, ...] reason`` at the end of a statement, or alone on the line
  above it; without brackets it silences every rule there;
* ``# convlint: ignore-file[slug-or-code, ...] reason`` anywhere: for the whole file;
* ``# noqa: CODE, ...`` and a bare ``# noqa`` at the end of a statement, as other linters read it.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from convlint.findings import Finding

_OURS = re.compile(r"#\s*convlint:\s*(ignore-file|ignore)\b\s*(?:\[([^\]]*)\])?", re.IGNORECASE)
_NOQA = re.compile(
    r"#\s*noqa\b(?!-)(?:\s*:\s*([A-Z][A-Z0-9]*[0-9]+(?:[\s,]+[A-Z][A-Z0-9]*[0-9]+)*))?(\s*:)?",
    re.IGNORECASE,
)
_EVERYTHING = "*"


class Suppression(msgspec.Struct, frozen=True):
    """One comment: the rules it ``names`` (lower-case; ``*`` is all) on which lines.

    ``last_line`` is None for a suppression that holds for the whole file.
    """

    names: tuple[str, ...]
    comment_line: int
    first_line: int = 1
    last_line: int | None = None
    foreign: bool = False
    """A ``noqa``, whose codes may belong to another linter."""

    def silences(self, finding: Finding) -> bool:
        """Whether this comment speaks of ``finding``."""
        line = finding.location.line
        if line < self.first_line or (self.last_line is not None and line > self.last_line):
            return False
        return any(
            name in (_EVERYTHING, finding.slug, finding.code.lower())
            or (self.foreign and finding.code.lower().startswith(name))
            for name in self.names
        )


def find_suppressions(source: str) -> tuple[Suppression, ...]:
    """Every suppression comment of ``source``; none when it cannot be tokenised."""
    if "noqa" not in source.lower() and "convlint" not in source.lower():
        return ()
    return tuple(_suppressions(source))


def without_suppressed(
    findings: Iterable[Finding], suppressions: tuple[Suppression, ...]
) -> list[Finding]:
    """The findings (of the file the suppressions stand in) that no comment silences."""
    return [
        finding
        for finding in findings
        if not any(suppression.silences(finding) for suppression in suppressions)
    ]


def _suppressions(source: str) -> Iterator[Suppression]:
    import tokenize

    statement_start: int | None = None
    trailing: list[tuple[int, str]] = []
    leading: list[tuple[int, str]] = []
    silent = {tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING}
    try:
        for token in tokenize.generate_tokens(io.StringIO(source, newline=None).readline):
            if token.type == tokenize.COMMENT:
                (leading if statement_start is None else trailing).append(
                    (token.start[0], token.string)
                )
            elif token.type == tokenize.NEWLINE:
                first = statement_start if statement_start is not None else token.start[0]
                for line, text in trailing:
                    yield from _read_comment(text, line, first, token.start[0])
                for line, text in _directly_above(leading, first):
                    yield from _read_comment(text, line, first, token.start[0], alone=True)
                statement_start, trailing, leading = None, [], []
            elif token.type not in silent and statement_start is None:
                statement_start = token.start[0]
    except (tokenize.TokenError, SyntaxError):
        return
    for line, text in leading:
        yield from _read_comment(text, line, line, line, alone=True)


def _directly_above(comments: list[tuple[int, str]], statement: int) -> list[tuple[int, str]]:
    """The comments of the block that touches ``statement``; ``ignore-file`` may stand anywhere."""
    touching = statement
    while comments and any(line == touching - 1 for line, _ in comments):
        touching -= 1
    return [
        (line, text) for line, text in comments if line >= touching or "ignore-file" in text.lower()
    ]


def _read_comment(
    text: str, comment_line: int, first_line: int, last_line: int, *, alone: bool = False
) -> Iterator[Suppression]:
    for match in _OURS.finditer(text):
        names = _names(match.group(2))
        if match.group(1).lower() == "ignore-file":
            yield Suppression(names, comment_line)
        else:
            yield Suppression(names, comment_line, first_line, last_line)
    noqa = None if alone else _NOQA.search(text)
    if noqa is not None and not noqa.group(2):
        yield Suppression(_names(noqa.group(1)), comment_line, first_line, last_line, foreign=True)


def _names(listed: str | None) -> tuple[str, ...]:
    if listed is None:
        return (_EVERYTHING,)
    return tuple(name.lower() for name in re.split(r"[\s,]+", listed) if name)
