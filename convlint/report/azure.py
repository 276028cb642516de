"""Findings as logging commands of Azure Pipelines.

Format: https://learn.microsoft.com/azure/devops/pipelines/scripts/logging-commands
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Severity
from convlint.fingerprints import portable_path
from convlint.report.formats import encoded

if TYPE_CHECKING:
    from convlint.report.formats import Report


def render(report: Report) -> bytes:
    """A command for each finding and for each thing that could not be done."""
    lines = []
    for finding in report.findings:
        place = finding.location
        properties = {
            "type": "error" if finding.severity is Severity.ERROR else "warning",
            "sourcepath": portable_path(place.path),
            "linenumber": str(place.shown_line),
            "columnnumber": str(place.column),
            "code": finding.code,
        }
        lines.append(_command(properties, f"{finding.slug}: {finding.message}"))
    for problem in report.problems:
        properties = {"type": "error"}
        if problem.path:
            properties["sourcepath"] = portable_path(problem.path)
        if problem.line:
            properties["linenumber"] = str(problem.line)
        if problem.column:
            properties["columnnumber"] = str(problem.column)
        lines.append(_command(properties, problem.message))
    return encoded("".join(line + "\n" for line in lines))


def _command(properties: dict[str, str], message: str) -> str:
    listed = "".join(f"{key}={_property(value)};" for key, value in properties.items())
    return f"##vso[task.logissue {listed}]{_message(message)}"


def _message(text: str) -> str:
    return text.replace("%", "%AZP25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace("]", "%5D").replace(";", "%3B")
