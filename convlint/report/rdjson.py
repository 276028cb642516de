"""Findings in the diagnostic format of reviewdog.

Format: https://github.com/reviewdog/reviewdog/tree/master/proto/rdf; columns count bytes of UTF-8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from convlint.findings import Location, Severity
from convlint.fingerprints import portable_path
from convlint.report.formats import json_document

if TYPE_CHECKING:
    from collections.abc import Mapping

    from convlint.report.formats import Report

SEVERITIES = {Severity.ERROR: "ERROR", Severity.WARNING: "WARNING", Severity.INFO: "INFO"}


def render(report: Report) -> bytes:
    """One ``DiagnosticResult``. A fix becomes a suggestion when it is a single edit of the same
    file: several suggestions would be read as alternatives."""
    places = _Places(report.texts)
    diagnostics: list[dict[str, Any]] = []
    for finding in report.findings:
        said = finding.message + (f"\n\nWhat to do: {finding.help}" if finding.help else "")
        diagnostic: dict[str, Any] = {
            "message": said,
            "location": places.location(finding.location),
            "severity": SEVERITIES[finding.severity],
            "code": {"value": f"{finding.code} ({finding.slug})"},
        }
        edits = finding.fix.edits if finding.fix is not None else ()
        whole_file = not finding.location.cell
        if whole_file and len(edits) == 1 and edits[0].location.path == finding.location.path:
            diagnostic["suggestions"] = [
                {"range": places.range(edits[0].location), "text": edits[0].replacement}
            ]
        if finding.related:
            diagnostic["related_locations"] = [
                {"message": related.message, "location": places.location(related.location)}
                for related in finding.related
            ]
        diagnostics.append(diagnostic)
    for problem in report.problems:
        location: dict[str, Any] = {"path": portable_path(problem.path) or "."}
        if problem.line:
            location["range"] = {"start": {"line": problem.line}}
        diagnostics.append({"message": problem.message, "location": location, "severity": "ERROR"})
    return json_document({"source": {"name": "convlint"}, "diagnostics": diagnostics})


class _Places:
    """Locations with columns in bytes."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts
        self._lines: dict[str, list[str]] = {}

    def location(self, place: Location) -> dict[str, Any]:
        return {"path": portable_path(place.path), "range": self.range(place)}

    def range(self, place: Location) -> dict[str, Any]:
        return {
            "start": self._position(place, place.line, place.column),
            "end": self._position(place, place.end_line, place.end_column),
        }

    def _position(self, place: Location, line: int, column: int) -> dict[str, int]:
        path = place.path
        if path not in self._lines:
            text = self._texts.get(path, "")
            self._lines[path] = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        lines = self._lines[path]
        before = lines[line - 1][: column - 1] if line <= len(lines) else ""
        wider = len(before.encode(errors="replace")) - len(before)
        return {"line": line - place.cell_start, "column": column + wider}
