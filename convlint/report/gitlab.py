"""Findings as a code quality report of GitLab.

Format: https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from convlint.findings import Severity
from convlint.fingerprints import fingerprints, portable_path
from convlint.report.formats import encoded, json_document

if TYPE_CHECKING:
    from convlint.report.formats import Report

SEVERITIES = {Severity.ERROR: "critical", Severity.WARNING: "major", Severity.INFO: "info"}
CANNOT_CHECK = "blocker"


def render(report: Report) -> bytes:
    """A JSON array; the fingerprints are all different and stay when lines move."""
    issues: list[dict[str, Any]] = []
    for finding, fingerprint in fingerprints(report.findings, report.texts):
        place = finding.location
        issues.append(
            {
                "description": f"{finding.slug}: {finding.message}",
                "check_name": finding.code,
                "fingerprint": fingerprint,
                "severity": SEVERITIES[finding.severity],
                "location": {
                    "path": portable_path(place.path),
                    "lines": {"begin": place.shown_line, "end": place.shown_end_line},
                },
            }
        )
    for number, problem in enumerate(report.problems):
        line = problem.line or 1
        said = f"{number}\0{problem.path}\0{problem.message}"
        issues.append(
            {
                "description": problem.message,
                "check_name": "cannot-check",
                "fingerprint": hashlib.blake2b(encoded(said), digest_size=16).hexdigest(),
                "severity": CANNOT_CHECK,
                "location": {
                    "path": portable_path(problem.path) or ".",
                    "lines": {"begin": line, "end": line},
                },
            }
        )
    return json_document(issues)
