"""Comments that silence findings, written where they are understood."""

from __future__ import annotations

import ast
import io
import re
import tokenize
import warnings
from typing import TYPE_CHECKING

from convlint.errors import UserError
from convlint.lazy_regex import lazy_regex
from convlint.statements import statement_at, statements
from convlint.suppressions import OURS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from convlint.findings import Finding

_LINE = lazy_regex(r"(?<=\n)|(?<=\r)(?!\n)")
_STRING_STARTS = {
    getattr(tokenize, name)
    for name in ("FSTRING_START", "TSTRING_START")
    if hasattr(tokenize, name)
}
_STRING_ENDS = {
    getattr(tokenize, name) for name in ("FSTRING_END", "TSTRING_END") if hasattr(tokenize, name)
}


def with_ignores(text: str, findings: Iterable[Finding], reason: str = "") -> str:
    """``text`` with a comment that silences each of ``findings``, which are all of this text.

    The comment stands on the finding's own line, or, where that ends inside a string or with a
    backslash, on the last of its statement. An ``ignore`` that is there already gets the names.

    Raises:
        UserError: a finding is in no statement, or the comments would change the program.
    """
    lines = _LINE.split(text)
    parsed = statements(text)
    closed, comments = _line_ends(text)
    wanted: dict[int, list[str]] = {}
    path = ""
    for finding in findings:
        path, line = finding.location.path, finding.location.line
        statement = statement_at(parsed, line)
        if statement is None:
            raise UserError("no statement to put a comment at", path=path, line=line)
        slugs = wanted.setdefault(statement.last_line if line in closed else line, [])
        if finding.slug not in slugs:
            slugs.append(finding.slug)
    for number, slugs in wanted.items():
        lines[number - 1] = _with_comment(
            lines[number - 1], comments.get(number), slugs, _one_line(reason)
        )
    changed = "".join(lines)
    if _program(changed) != _program(text):
        raise UserError("not changed: the comments would change the program", path=path)
    return changed


def _line_ends(text: str) -> tuple[set[int], dict[int, int]]:
    """The lines after which no comment can stand, and where on others one starts already."""
    closed: set[int] = set()
    comments: dict[int, int] = {}
    open_strings: list[int] = []
    for token in tokenize.generate_tokens(io.StringIO(text, newline=None).readline):
        first, last = token.start[0], token.end[0]
        if token.type == tokenize.COMMENT:
            comments[first] = token.start[1]
        elif token.type == tokenize.STRING:
            closed.update(range(first, last))
        elif token.type in _STRING_STARTS:
            open_strings.append(first)
        elif token.type in _STRING_ENDS:
            closed.update(range(open_strings.pop(), last))
    for number, line in enumerate(_LINE.split(text), start=1):
        if number not in comments and line.rstrip("\r\n").endswith("\\"):
            closed.add(number)
    return closed, comments


def _with_comment(line: str, comment: int | None, slugs: list[str], reason: str) -> str:
    body = line.rstrip("\r\n")
    ending = line[len(body) :]
    for match in OURS.finditer(body, comment) if comment is not None else ():
        if match.group(1).lower() == "ignore" and match.group(2) is not None:
            there = [name for name in re.split(r"[\s,]+", match.group(2)) if name]
            names = ", ".join([*there, *(slug for slug in slugs if slug not in there)])
            return body[: match.start(2)] + names + body[match.end(2) :] + ending
    said = f"# convlint: ignore[{', '.join(slugs)}]" + (f" {reason}" if reason else "")
    return f"{body.rstrip()}  {said}{ending}"


def _one_line(reason: str) -> str:
    """A ``#`` would begin another comment."""
    return " ".join(reason.replace("#", "").split())


def _program(text: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.dump(ast.parse(text))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return ""
