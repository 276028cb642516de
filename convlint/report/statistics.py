"""How often each rule spoke, for readers and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from convlint.fixes import is_fixable
from convlint.report.text import FAINT, STRONG, Line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from convlint.findings import Finding


class RuleCount(msgspec.Struct, frozen=True):
    """What one rule found: ``fixable`` of its ``count`` findings can be fixed."""

    code: str
    slug: str
    count: int
    fixable: int


def counted(findings: Iterable[Finding], *, unsafe_fixes: bool = False) -> list[RuleCount]:
    """A count for each rule that spoke, most often first."""
    counts: dict[tuple[str, str], list[bool]] = {}
    for finding in findings:
        fixable = is_fixable(finding, unsafe=unsafe_fixes)
        counts.setdefault((finding.code, finding.slug), []).append(fixable)
    rows = [RuleCount(*name, len(marks), sum(marks)) for name, marks in counts.items()]
    return sorted(rows, key=lambda row: (-row.count, row.code, row.slug))


def statistics(findings: Iterable[Finding], *, unsafe_fixes: bool = False) -> Iterator[Line]:
    """A line for each rule; ``[*]`` marks rules whose every finding can be fixed, ``[-]`` those
    of which some can."""
    rows = counted(findings, unsafe_fixes=unsafe_fixes)
    width = len(str(max((row.count for row in rows), default=0)))
    marked = any(row.fixable for row in rows)
    for row in rows:
        mark = "[*] " if row.fixable == row.count else "[-] " if row.fixable else "    "
        yield (
            (f"{row.count:>{width}}", STRONG),
            (f"  {row.code}  ", FAINT),
            (mark if marked else "", "bold green"),
            (row.slug, ""),
        )


def statistics_json(findings: Iterable[Finding], *, unsafe_fixes: bool = False) -> bytes:
    """A JSON array of ``RuleCount``."""
    rows = counted(findings, unsafe_fixes=unsafe_fixes)
    return msgspec.json.format(msgspec.json.encode(rows), indent=2) + b"\n"
