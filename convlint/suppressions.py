"""Comments that silence findings.

* ``# convlint: ignore[slug-or-code, ...] reason`` at the end of a statement, or alone on the line
  above it; without brackets it silences every rule there;
* ``# convlint: ignore-next-line[...] reason``: for the statement after the comment, which may
  itself stand at the end of one;
* ``# convlint: disable[...] reason``: from here on, until ``# convlint: enable[...]`` of the same
  names (``enable`` alone ends all of them) or the end of the file;
* ``# convlint: ignore-file[...] reason`` anywhere: for the whole file;
* ``# noqa: CODE, ...`` and a bare ``# noqa`` at the end of a statement, as other linters read it.

Names are slugs, codes and code prefixes. A name in our own comments that no rule has, or whose
rule has nothing to say there, is reported in its turn (``unused-suppression``), and so is one of
our codes in a ``noqa``.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import msgspec

from convlint.findings import Finding, Location
from convlint.lazy_regex import lazy_regex

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from convlint.catalogue import RuleCard
    from convlint.findings import Fix

OURS = lazy_regex(
    r"(?i)#\s*convlint:\s*(ignore-file|ignore-next-line|ignore|disable|enable)\b(?!-)"
    r"\s*(?:\[([^\]]*)\])?"
)
NOQA = lazy_regex(
    r"(?i)#\s*noqa\b(?!-)(?:\s*:\s*([A-Z][A-Z0-9]*[0-9]+(?:[\s,]+[A-Z][A-Z0-9]*[0-9]+)*))?(\s*:)?"
)
EVERYTHING = "*"


class Suppression(msgspec.Struct, frozen=True):
    """One comment: the rules it ``names`` (lower-case; ``*`` is all) on which lines.

    ``last_line`` is None for one that holds to the end of the file. One that speaks of no line at
    all, such as an ``enable`` with nothing to end, has its ``last_line`` before its first.
    """

    names: tuple[str, ...]
    comment_line: int
    first_line: int = 1
    last_line: int | None = None
    foreign: bool = False
    """A ``noqa``, whose codes may belong to another linter."""
    comment_columns: tuple[int, int] = (1, 1)
    """Where the comment starts and ends, from 1, the end exclusive."""

    @property
    def ends_nothing(self) -> bool:
        """Whether it is an ``enable`` without a ``disable``, or speaks of no statement."""
        return self.last_line is not None and self.last_line < self.first_line

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
            if name == EVERYTHING or _stands_for(name, finding.slug, finding.code)
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
    texts: Mapping[str, str],
    unused: RuleCard,
    catalogue: Iterable[RuleCard],
    judged: Collection[str],
) -> Iterator[Finding]:
    """What the rule ``unused`` has to say of the comments in the file ``path``.

    ``findings`` are those of the file before any comment silenced them, of any confidence;
    ``judged`` the slugs of the rules that saw the whole file. Rules that also judge a run are
    left out of account: the comment may be there for ``convlint probe``. So are comments that
    name no rule, and codes of other linters. ``texts`` has the text of the file: the fix is an
    edit of it.
    """
    known = tuple(catalogue)
    lower = [(rule, rule.code.lower()) for rule in known]
    for suppression in suppressions:
        used = {name for finding in findings for name in suppression.names_silencing(finding)}
        for name in dict.fromkeys(suppression.names):
            rules = [rule for rule, code in lower if name == rule.slug or code.startswith(name)]
            nearest = None
            if suppression.foreign and not any(name == rule.code.lower() for rule in rules):
                continue
            if suppression.ends_nothing:
                message = "no `disable` is in force here, so this comment ends nothing"
                advice = "Take the comment out."
            elif name == EVERYTHING:
                continue
            elif not rules:
                nearest = _nearest(name, known)
                message = f"no rule is called {name!r}"
                message += f"; did you mean {nearest!r}?" if nearest else ""
                advice = "Correct the name."
            elif name in used or any(
                rule.has_measured()
                or rule.has_logged()
                or rule.slug not in judged
                or rule is unused
                for rule in rules
            ):
                continue
            else:
                shown = name.upper() if suppression.foreign else name
                message = f"{shown} has nothing to say here, so this comment silences nothing"
                advice = f"Take {shown} out of the comment."
            start, end = suppression.comment_columns
            line = suppression.comment_line
            found = unused.finding(Location(path, line, start, line, end), message, help=advice)
            fix = _correction(texts[path], path, suppression, name, nearest)
            yield msgspec.structs.replace(found, fix=fix)


def _correction(
    text: str, path: str, suppression: Suppression, name: str, nearest: str | None
) -> Fix | None:
    """The edit that writes ``nearest`` for ``name``, or takes ``name`` out when that is None."""
    from convlint.comment_edits import correct_name, remove_name

    if nearest is None:
        return remove_name(text, path, suppression, name)
    return correct_name(text, path, suppression, name, nearest)


def _stands_for(name: str, slug: str, code: str) -> bool:
    return name == slug or code.lower().startswith(name)


def _nearest(name: str, catalogue: tuple[RuleCard, ...]) -> str:
    from convlint.errors import nearest

    return nearest(name, [rule.slug for rule in catalogue])


def _suppressions(source: str) -> Iterator[Suppression]:
    import tokenize

    statement_start: int | None = None
    trailing: list[_Comment] = []
    leading: list[_Comment] = []
    next_line: list[_Comment] = []
    ranges = _Ranges()
    silent = {tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING}
    try:
        for token in tokenize.generate_tokens(io.StringIO(source, newline=None).readline):
            if token.type == tokenize.COMMENT:
                comment = _Comment(token.start[0], token.start[1] + 1, token.string)
                (leading if statement_start is None else trailing).append(comment)
                ranges.read(comment)
            elif token.type == tokenize.NEWLINE:
                first = statement_start if statement_start is not None else token.start[0]
                for comment in (*next_line, *leading):
                    yield from _read_next_line(comment, first, token.start[0])
                for comment in trailing:
                    yield from _read_comment(comment, first, token.start[0])
                for comment in _directly_above(leading, first):
                    yield from _read_comment(comment, first, token.start[0], alone=True)
                statement_start, next_line, trailing, leading = None, trailing, [], []
            elif token.type not in silent and statement_start is None:
                statement_start = token.start[0]
    except (tokenize.TokenError, SyntaxError):
        return
    for comment in leading:
        yield from _read_comment(comment, comment.line, comment.line, alone=True)
    for comment in (*next_line, *leading):
        yield from _read_next_line(comment, comment.line + 1, comment.line)
    yield from ranges.closed()


class _Comment(msgspec.Struct, frozen=True):
    line: int
    column: int
    text: str

    def columns(self, match: re.Match[str]) -> tuple[int, int]:
        """Where ``match`` starts and ends in the line."""
        return (self.column + match.start(), self.column + match.end())


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
    for match in OURS.finditer(comment.text):
        if match.group(1).lower() not in ("ignore", "ignore-file"):
            continue
        whole_file = match.group(1).lower() == "ignore-file"
        yield Suppression(
            _names(match.group(2)),
            comment.line,
            1 if whole_file else first_line,
            None if whole_file else last_line,
            comment_columns=comment.columns(match),
        )
    noqa = None if alone else NOQA.search(comment.text)
    if noqa is not None and not noqa.group(2):
        yield Suppression(
            _names(noqa.group(1)),
            comment.line,
            first_line,
            last_line,
            foreign=True,
            comment_columns=comment.columns(noqa),
        )


def _read_next_line(comment: _Comment, first_line: int, last_line: int) -> Iterator[Suppression]:
    for match in OURS.finditer(comment.text):
        if match.group(1).lower() == "ignore-next-line":
            names = _names(match.group(2))
            columns = comment.columns(match)
            yield Suppression(names, comment.line, first_line, last_line, comment_columns=columns)


class _Ranges:
    """Reads ``disable`` and ``enable`` in the order they stand in."""

    def __init__(self) -> None:
        self._open: list[tuple[str, Suppression]] = []
        self._done: list[Suppression] = []

    def read(self, comment: _Comment) -> None:
        """Begin or end what the comment says."""
        for match in OURS.finditer(comment.text):
            names, columns = _names(match.group(2)), comment.columns(match)
            what = match.group(1).lower()
            if what == "disable":
                self._open += [
                    (
                        name,
                        Suppression((name,), comment.line, comment.line, comment_columns=columns),
                    )
                    for name in names
                ]
            elif what == "enable":
                for name in names:
                    self._end(name, comment, columns)

    def _end(self, name: str, comment: _Comment, columns: tuple[int, int]) -> None:
        ended = [entry for entry in self._open if name in (EVERYTHING, entry[0])]
        self._open = [entry for entry in self._open if entry not in ended]
        self._done += [msgspec.structs.replace(begun, last_line=comment.line) for _, begun in ended]
        if not ended:
            self._done.append(
                Suppression(
                    (name,), comment.line, comment.line + 1, comment.line, comment_columns=columns
                )
            )

    def closed(self) -> Iterator[Suppression]:
        """Every range; those that nothing ended hold to the end of the file."""
        yield from self._done
        for _, suppression in self._open:
            yield suppression


def _names(listed: str | None) -> tuple[str, ...]:
    if listed is None:
        return (EVERYTHING,)
    return tuple(name.lower() for name in re.split(r"[\s,]+", listed) if name)
