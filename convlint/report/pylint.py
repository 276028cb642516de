"""Findings as Pylint's ``parseable`` text, which many editors and CI plug-ins read.

Format: https://pylint.readthedocs.io/en/stable/user_guide/usage/output.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.report.formats import encoded
from convlint.report.text import one_line

if TYPE_CHECKING:
    from convlint.report.formats import Report


def render(report: Report) -> bytes:
    """``path:line: [CODE(slug), ] message`` for each finding."""
    lines = [
        f"{one_line(finding.location.shown_path)}:{finding.location.shown_line}: "
        f"[{finding.code}({finding.slug}), ] {one_line(finding.message)}"
        for finding in report.findings
    ]
    lines += [
        f"{one_line(problem.path or 'convlint')}:{problem.line or 1}: "
        f"[F0001(cannot-check), ] {problem.message}"
        for problem in report.problems
    ]
    return encoded("".join(line + "\n" for line in lines))
