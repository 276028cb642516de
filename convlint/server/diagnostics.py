"""Findings as diagnostics of the protocol."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lsprotocol import types

from convlint.findings import Severity

if TYPE_CHECKING:
    from collections.abc import Callable

    from convlint.findings import Finding
    from convlint.server.messages import Problem
    from convlint.server.pages import RulePages
    from convlint.server.positions import Text

SOURCE = "convlint"

_SEVERITIES = {
    Severity.ERROR: types.DiagnosticSeverity.Error,
    Severity.WARNING: types.DiagnosticSeverity.Warning,
    Severity.INFO: types.DiagnosticSeverity.Information,
}

_FADED = frozenset({"unused-suppression"})
"""Rules that speak of text that could as well not be there."""


def diagnostic(
    finding: Finding, text_at: Callable[[str], Text], uri_of: Callable[[str], str], pages: RulePages
) -> types.Diagnostic:
    """``text_at`` gives the text of a file and ``uri_of`` its address, both by absolute path."""
    message = finding.message
    if finding.help:
        message += f"\nwhat to do: {finding.help}"
    page = pages.uri(finding.slug)
    return types.Diagnostic(
        range=text_at(finding.location.path).range(finding.location),
        message=message,
        severity=_SEVERITIES[finding.severity],
        code=finding.slug,
        code_description=None if page is None else types.CodeDescription(page),
        source=SOURCE,
        tags=[types.DiagnosticTag.Unnecessary] if finding.slug in _FADED else None,
        related_information=[
            types.DiagnosticRelatedInformation(
                types.Location(
                    uri_of(related.location.path),
                    text_at(related.location.path).range(related.location),
                ),
                related.message,
            )
            for related in finding.related
        ]
        or None,
        data={"code": finding.code, "fixable": finding.fix is not None},
    )


def unreadable(problem: Problem, text: Text) -> types.Diagnostic:
    """Why nothing else is said of the document."""
    start = text.position(problem.line or 1, problem.column or 1)
    line = text.line(start.line)
    column = (problem.column or 1) if problem.line else 1
    end = text.position(start.line + 1, min(column + 1, len(line) + 1))
    return types.Diagnostic(
        range=types.Range(start, end),
        message=problem.message,
        severity=types.DiagnosticSeverity.Error,
        source=SOURCE,
    )


def uri_of_path(path: str) -> str:
    """The address of a file."""
    return Path(path).as_uri()
