"""Comments that silence findings.

* ``# convlint: ignore[slug-or-code, ...] reason`` at the end of a statement, or alone on the line
  above it; without brackets it silences every rule there;
* ``# convlint: ignore-file[slug-or-code, ...] reason`` anywhere: for the whole file;
* ``# noqa: CODE, ...`` and a bare ``# noqa`` at the end of a statement, as other linters read it.

Names are slugs, codes and code prefixes. A name in our own comments that no rule has, or whose
rule has nothing to say there, is reported in its turn (``unused-suppression``).
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import msgspec

from convlint.findings import Finding, Location

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from convlint.catalogue import RuleCard

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
    comment_columns: tuple[int, int] = (1, 1)
    """Where the comment starts and ends, from 1, the end exclusive."""

    def silences(self, finding: Finding) -> bool:
        """Whether this comment speaks of ``finding``."""
        return bool(self.names_silencing(finding))

    def names_silencing(self, finding: Finding) -> tuple[str, ...]:
        """Those of its names that speak of ``finding``."""
        line = finding.location.line
        if line < self.first_line or (self.last_line is not None and line > self.last_line):
            return ()
        return tuple(
            name
            for name in self.names
            if name == _EVERYTHING or _stands_for(name, finding.slug, finding.code)
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


def unused_suppressions(
    suppressions: Iterable[Suppression],
    findings: Collection[Finding],
    *,
    path: str,
    unused: RuleCard,
    catalogue: Iterable[RuleCard],
    judged: Collection[str],
) -> Iterator[Finding]:
    """What the rule ``unused`` has to say of the comments in the file ``path``.

    ``findings`` are those of the file before any comment silenced them, of any confidence;
    ``judged`` the slugs of the rules that saw the whole file. Rules that also judge a run are
    left out of account: the comment may be there for ``convlint probe``. So are ``noqa`` and
    comments that name no rule.
    """
    static_only = [rule for rule in catalogue if not rule.has_measured()]
    known = tuple(catalogue)
    for suppression in suppressions:
        if suppression.foreign or _EVERYTHING in suppression.names:
            continue
        used = {name for finding in findings for name in suppression.names_silencing(finding)}
        for name in dict.fromkeys(suppression.names):
            rules = [rule for rule in known if _stands_for(name, rule.slug, rule.code)]
            if not rules:
                message = f"no rule is called {name!r}{_nearest(name, known)}"
            elif name in used or not all(
                rule in static_only and rule.slug in judged and rule is not unused for rule in rules
            ):
                continue
            else:
                message = f"{name} has nothing to say here, so this comment silences nothing"
            start, end = suppression.comment_columns
            line = suppression.comment_line
            yield unused.finding(
                Location(path, line, start, line, end),
                message,
                help=f"Take {name} out of the comment." if rules else "Correct the name.",
            )


def _stands_for(name: str, slug: str, code: str) -> bool:
    return name == slug or code.lower().startswith(name)


def _nearest(name: str, catalogue: tuple[RuleCard, ...]) -> str:
    from convlint.errors import did_you_mean

    return did_you_mean(name, [rule.slug for rule in catalogue])


def _suppressions(source: str) -> Iterator[Suppression]:
    import tokenize

    statement_start: int | None = None
    trailing: list[_Comment] = []
    leading: list[_Comment] = []
    silent = {tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING}
    try:
        for token in tokenize.generate_tokens(io.StringIO(source, newline=None).readline):
            if token.type == tokenize.COMMENT:
                comment = _Comment(token.start[0], token.start[1] + 1, token.string)
                (leading if statement_start is None else trailing).append(comment)
            elif token.type == tokenize.NEWLINE:
                first = statement_start if statement_start is not None else token.start[0]
                for comment in trailing:
                    yield from _read_comment(comment, first, token.start[0])
                for comment in _directly_above(leading, first):
                    yield from _read_comment(comment, first, token.start[0], alone=True)
                statement_start, trailing, leading = None, [], []
            elif token.type not in silent and statement_start is None:
                statement_start = token.start[0]
    except (tokenize.TokenError, SyntaxError):
        return
    for comment in leading:
        yield from _read_comment(comment, comment.line, comment.line, alone=True)


class _Comment(msgspec.Struct, frozen=True):
    line: int
    column: int
    text: str


def _directly_above(comments: list[_Comment], statement: int) -> list[_Comment]:
    """The comments of the block that touches ``statement``; ``ignore-file`` may stand anywhere."""
    lines = {comment.line for comment in comments}
    touching = statement
    while touching - 1 in lines:
        touching -= 1
    return [
        comment
        for comment in comments
        if comment.line >= touching or "ignore-file" in comment.text.lower()
    ]


def _read_comment(
    comment: _Comment, first_line: int, last_line: int, *, alone: bool = False
) -> Iterator[Suppression]:
    for match in _OURS.finditer(comment.text):
        whole_file = match.group(1).lower() == "ignore-file"
        yield Suppression(
            _names(match.group(2)),
            comment.line,
            1 if whole_file else first_line,
            None if whole_file else last_line,
            comment_columns=(comment.column + match.start(), comment.column + match.end()),
        )
    noqa = None if alone else _NOQA.search(comment.text)
    if noqa is not None and not noqa.group(2):
        names = _names(noqa.group(1))
        yield Suppression(names, comment.line, first_line, last_line, foreign=True)


def _names(listed: str | None) -> tuple[str, ...]:
    if listed is None:
        return (_EVERYTHING,)
    return tuple(name.lower() for name in re.split(r"[\s,]+", listed) if name)
