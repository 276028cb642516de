"""Findings as text for people, under the file they are in."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from convlint.fixes import is_fixable
from convlint.report.text import FAINT, SEVERITY_STYLE, STRONG, Line, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from convlint.findings import Finding


def grouped(findings: Sequence[Finding], *, unsafe_fixes: bool = False) -> Iterator[Line]:
    """The path, its findings on a line each in columns, an empty line."""
    for path, group in groupby(findings, key=lambda finding: finding.location.shown_path):
        members = list(group)
        places = [f"{f.location.shown_line}:{f.location.column}" for f in members]
        width = max(map(len, places))
        severity_width = max(len(finding.severity.value) for finding in members)
        yield ((f"{one_line(path)}:", STRONG),)
        for finding, place in zip(members, places, strict=True):
            judged = finding.judgement
            mark = " [*]" if is_fixable(finding, unsafe=unsafe_fixes) else ""
            yield (
                (f"  {place:<{width}} ", FAINT),
                (
                    f" {finding.severity.value:<{severity_width}}",
                    SEVERITY_STYLE[finding.severity],
                ),
                (f" {finding.slug} ({finding.code}){mark}", ""),
                (f" {one_line(finding.message)}", ""),
                (f" [{judged.verdict.value}]" if judged is not None else "", FAINT),
            )
        yield ()
