"""Findings as a JUnit report: a suite for each file, a failed test case for each finding.

Format: https://github.com/testmoapp/junitxml, as CI services read it.
"""

from __future__ import annotations

import re
from itertools import groupby
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from convlint.fingerprints import portable_path

if TYPE_CHECKING:
    from convlint.errors import UserError
    from convlint.findings import Finding
    from convlint.report.formats import Report

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold."""


def render(report: Report) -> bytes:
    """The document; with nothing found, one suite with one test case that passes."""
    root = ElementTree.Element("testsuites", {"name": "convlint"})
    by_path: dict[str, list[Finding]] = {
        path: list(group)
        for path, group in groupby(report.findings, key=lambda finding: finding.location.path)
    }
    failed: dict[str, list[UserError]] = {}
    for problem in report.problems:
        failed.setdefault(problem.path, []).append(problem)
    for path in dict.fromkeys((*by_path, *failed)):
        _suite(root, path, by_path.get(path, []), failed.get(path, []))
    if not len(root):
        suite = ElementTree.SubElement(root, "testsuite", {"name": "convlint"})
        _counted(suite, tests=1, failures=0, errors=0)
        ElementTree.SubElement(suite, "testcase", {"name": "No faults", "classname": "convlint"})
    _counted(
        root,
        tests=sum(int(suite.get("tests", 0)) for suite in root),
        failures=len(report.findings),
        errors=len(report.problems),
    )
    ElementTree.indent(root)
    return (
        b'<?xml version="1.0" encoding="UTF-8"?>\n'
        + ElementTree.tostring(root, encoding="unicode").encode()
        + b"\n"
    )


def _suite(
    root: ElementTree.Element, path: str, findings: list[Finding], problems: list[UserError]
) -> None:
    shown = _text(portable_path(path)) or "convlint"
    suite = ElementTree.SubElement(root, "testsuite", {"name": shown})
    _counted(
        suite,
        tests=len(findings) + len(problems),
        failures=len(findings),
        errors=len(problems),
    )
    for finding in findings:
        place = finding.location
        name = f"{finding.slug} {place.shown_line}:{place.column}"
        case = _case(suite, name, shown, place.shown_line)
        failure = ElementTree.SubElement(
            case, "failure", {"message": _text(finding.message), "type": finding.severity.value}
        )
        said = f"{place.shown_path}:{place.shown_line}:{place.column}: {finding.slug} ({finding.code})\n"
        said += finding.message + (f"\nwhat to do: {finding.help}" if finding.help else "")
        failure.text = _text(said)
    for problem in problems:
        case = _case(suite, "can be checked", shown, problem.line)
        error = ElementTree.SubElement(
            case, "error", {"message": _text(problem.message), "type": "cannot-check"}
        )
        error.text = _text(str(problem))


def _case(
    suite: ElementTree.Element, name: str, shown: str, line: int | None
) -> ElementTree.Element:
    attributes = {"name": name, "classname": shown, "file": shown}
    if line:
        attributes["line"] = str(line)
    return ElementTree.SubElement(suite, "testcase", attributes)


def _counted(element: ElementTree.Element, *, tests: int, failures: int, errors: int) -> None:
    for name, number in (("tests", tests), ("failures", failures), ("errors", errors)):
        element.set(name, str(number))


def _text(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
