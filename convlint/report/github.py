"""Findings as workflow commands, which GitHub Actions shows beside the changed lines.

Format: https://docs.github.com/actions/reference/workflow-commands-for-github-actions
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Severity
from convlint.fingerprints import portable_path
from convlint.report.formats import encoded

if TYPE_CHECKING:
    from convlint.report.formats import Report

COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "notice"}


def render(report: Report) -> bytes:
    """A command for each finding and for each thing that could not be done."""
    lines = []
    for finding in report.findings:
        place = finding.location
        properties: dict[str, str | int] = {
            "title": f"convlint ({finding.slug})",
            "file": portable_path(place.path),
            "line": place.shown_line,
            "col": place.column,
        }
        # Columns are only understood within one line.
        properties["endLine"] = place.shown_end_line
        if place.end_line == place.line:
            properties["endColumn"] = place.end_column
        said = f"{place.shown_path}:{place.shown_line}:{place.column}: {finding.slug} ({finding.code}) "
        lines.append(_command(COMMANDS[finding.severity], properties, said + finding.message))
    for problem in report.problems:
        properties = {"title": "convlint"}
        if problem.path:
            properties["file"] = portable_path(problem.path)
        if problem.line:
            properties["line"] = problem.line
        if problem.column:
            properties["col"] = problem.column
        lines.append(_command("error", properties, str(problem)))
    return encoded("".join(line + "\n" for line in lines))


def _command(name: str, properties: dict[str, str | int], message: str) -> str:
    listed = ",".join(f"{key}={_property(str(value))}" for key, value in properties.items())
    return f"::{name} {listed}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
