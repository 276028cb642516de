"""Names of findings that stay the same when lines move.

A fingerprint is made of the path, the rule, the text of the statement the finding is about and,
where that is not enough, a number: the how-manieth of its kind it is in the file. Lines added
elsewhere, comments and another layout change nothing; changing the statement makes a new finding.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from convlint.statements import Statement, statement_at, statements

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from convlint.findings import Finding

SIZE = 16
"""Bytes of a fingerprint: two findings of a billion share one with probability 1e-21."""


def fingerprints(
    findings: Iterable[Finding], texts: Mapping[str, str], root: str | None = None
) -> Iterator[tuple[Finding, str]]:
    """Each finding with its fingerprint, all of them different, in hexadecimal digits.

    ``texts`` has the source by path. Paths are taken relative to ``root`` when it is given.
    """
    parsed: dict[str, tuple[Statement, ...]] = {}
    times: dict[tuple[str, str, str], int] = {}
    for finding in findings:
        path = finding.location.path
        if path not in parsed:
            parsed[path] = statements(texts.get(path, ""))
        statement = statement_at(parsed[path], finding.location.line)
        text = _line(texts, path, finding.location.line) if statement is None else statement.text
        kind = (portable_path(path, root), finding.slug, text)
        times[kind] = times.get(kind, 0) + 1
        whole = "\0".join((*kind, str(times[kind])))
        yield (
            finding,
            hashlib.blake2b(whole.encode(errors="backslashreplace"), digest_size=SIZE).hexdigest(),
        )


def portable_path(path: str, root: str | None = None) -> str:
    """``path`` with ``/`` between its parts, relative to ``root`` when that is given."""
    if root is not None:
        path = os.path.relpath(path, root)
    return path.replace(os.sep, "/")


def _line(texts: Mapping[str, str], path: str, number: int) -> str:
    lines = texts.get(path, "").splitlines()
    return " ".join(lines[number - 1].split()) if 1 <= number <= len(lines) else ""
