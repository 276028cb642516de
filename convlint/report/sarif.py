"""Findings as SARIF 2.1.0, which GitHub code scanning, editors and dashboards read.

Format: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from convlint import __version__
from convlint.findings import Confidence, Finding, Location, Severity
from convlint.fingerprints import fingerprints, portable_path
from convlint.report.formats import json_document
from convlint.report.rules import documentation, summary
from convlint.rules import find_rule

if TYPE_CHECKING:
    from convlint.errors import UserError
    from convlint.findings import Fix
    from convlint.report.formats import Report
    from convlint.rules import Rule

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
FINGERPRINT = "convlintStatement/v1"
ROOT = "%SRCROOT%"

LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}
PROBLEM_SEVERITIES = {
    Severity.ERROR: "error",
    Severity.WARNING: "warning",
    Severity.INFO: "recommendation",
}
"""``problem.severity`` as GitHub reads it."""

_RANK = {Severity.ERROR: 70.0, Severity.WARNING: 40.0, Severity.INFO: 10.0}
_SURER = {Confidence.HIGH: 25.0, Confidence.MEDIUM: 15.0, Confidence.LOW: 0.0}
"""A rank is the sum of both, between 0 and 100: severity decides, confidence orders within it."""

_ADDRESS = re.compile(r"https?://[^\s)>\]]+")


def render(report: Report) -> bytes:
    """A log with one run: the rules that spoke, results, and what could not be done."""
    slugs = sorted({finding.slug for finding in report.findings})
    rules = [(slug, find_rule(slug)) for slug in slugs]
    index = {slug: number for number, (slug, _) in enumerate(rules)}
    severities = {finding.slug: finding for finding in reversed(report.findings)}
    results = [
        _result(finding, index[finding.slug], fingerprint)
        for finding, fingerprint in fingerprints(report.findings, report.texts)
    ]
    run = {
        "tool": {
            "driver": {
                "name": "convlint",
                "version": __version__,
                "semanticVersion": __version__,
                "shortDescription": {"text": "Finds faults that keep training from converging."},
                "rules": [_rule(rule, severities[slug]) for slug, rule in rules],
            }
        },
        "invocations": [
            {
                "executionSuccessful": not report.problems,
                "toolExecutionNotifications": [_notification(p) for p in report.problems],
            }
        ],
        "originalUriBaseIds": {ROOT: {"uri": Path.cwd().as_uri().rstrip("/") + "/"}},
        "columnKind": "unicodeCodePoints",
        "results": results,
    }
    return json_document({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]})


def _rule(rule: Rule | None, example: Finding) -> dict[str, Any]:
    """The descriptor of a rule; ``example`` speaks for one whose class is not at hand."""
    if rule is None:
        return {"id": example.code, "name": example.slug}
    text = documentation(rule, fenced=True)
    descriptor: dict[str, Any] = {
        "id": rule.code,
        "name": rule.slug,
        "shortDescription": {"text": summary(rule)},
        "fullDescription": {"text": _section(text, "What it does") or summary(rule)},
        "help": {"text": documentation(rule), "markdown": text},
        "defaultConfiguration": {"enabled": rule.default, "level": LEVELS[rule.severity]},
        "properties": {
            "tags": [rule.category()],
            "precision": rule.confidence.value,
            "problem.severity": PROBLEM_SEVERITIES[rule.severity],
        },
    }
    address = _ADDRESS.search(_section(text, "References"))
    if address is not None:
        descriptor["helpUri"] = address.group().rstrip(".,;")
    return descriptor


def _section(text: str, title: str) -> str:
    """The text under a title of a rule's documentation; empty when it has none."""
    match = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return match.group(1).strip() if match else ""


def _result(finding: Finding, rule_index: int, fingerprint: str) -> dict[str, Any]:
    said = finding.message + (f"\nWhat to do: {finding.help}" if finding.help else "")
    result: dict[str, Any] = {
        "ruleId": finding.code,
        "ruleIndex": rule_index,
        "level": LEVELS[finding.severity],
        "rank": _RANK[finding.severity] + _SURER[finding.confidence],
        "message": {"text": said},
        "locations": [{"physicalLocation": _physical(finding.location)}],
        "partialFingerprints": {FINGERPRINT: fingerprint},
        "properties": {"confidence": finding.confidence.value},
    }
    if finding.related:
        result["relatedLocations"] = [
            {
                "id": number,
                "physicalLocation": _physical(related.location),
                "message": {"text": related.message},
            }
            for number, related in enumerate(finding.related, start=1)
        ]
    if finding.judgement is not None:
        result["properties"]["verdict"] = finding.judgement.verdict.value
        result["properties"]["verdictReason"] = finding.judgement.reason
    if finding.location.cell:
        result["properties"]["cell"] = finding.location.cell
    elif finding.fix is not None:
        result["fixes"] = [_fix(finding.fix)]
    return result


def _fix(fix: Fix) -> dict[str, Any]:
    by_path: dict[str, list[dict[str, Any]]] = {}
    for edit in fix.edits:
        replacement = {
            "deletedRegion": _region(edit.location),
            "insertedContent": {"text": edit.replacement},
        }
        by_path.setdefault(edit.location.path, []).append(replacement)
    return {
        "description": {"text": f"{fix.message} ({fix.applicability.value} fix)"},
        "artifactChanges": [
            {"artifactLocation": _artifact(path), "replacements": replacements}
            for path, replacements in by_path.items()
        ],
    }


def _notification(problem: UserError) -> dict[str, Any]:
    notification: dict[str, Any] = {"level": "error", "message": {"text": problem.message}}
    if problem.path:
        physical: dict[str, Any] = {"artifactLocation": _artifact(problem.path)}
        if problem.line:
            physical["region"] = {"startLine": problem.line}
            if problem.column:
                physical["region"]["startColumn"] = problem.column
        notification["locations"] = [{"physicalLocation": physical}]
    return notification


def _physical(place: Location) -> dict[str, Any]:
    return {"artifactLocation": _artifact(place.path), "region": _region(place)}


def _artifact(path: str) -> dict[str, Any]:
    """A path below the working directory is relative to it, another one absolute."""
    if Path(path).is_absolute():
        return {"uri": Path(path).as_uri()}
    return {"uri": quote(portable_path(path).encode(errors="surrogateescape")), "uriBaseId": ROOT}


def _region(place: Location) -> dict[str, Any]:
    return {
        "startLine": place.shown_line,
        "startColumn": place.column,
        "endLine": place.shown_end_line,
        "endColumn": place.end_column,
    }
