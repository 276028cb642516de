from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import msgspec
import pytest

from convlint.cli.options import OUTPUT_FORMATS
from convlint.errors import UserError
from convlint.findings import (
    Applicability,
    Confidence,
    Edit,
    Finding,
    Fix,
    Location,
    Related,
    Severity,
)
from convlint.report.formats import MODULES, Report, render


@pytest.fixture
def faults():
    """What the standard has against a log; skipped where its object model is not installed."""
    pytest.importorskip("sarif_om", reason="sarif-om, of the extra dev, is not installed")
    from sarif_structure import faults

    return faults


SOURCE = (
    "import torch\noptimizer = Adam(\n    lr=1,  # hoch: 漢字\n)\nname = 'é'; loss.backward()\n"
)
OTHER = "/elsewhere/a b.py"

HIGH_RATE = Finding(
    code="OPT001",
    slug="adaptive-lr-high",
    severity=Severity.WARNING,
    confidence=Confidence.MEDIUM,
    message="learning rate 1 is 100 % too high:\n]]> <b> & ; , ::",
    location=Location("src/a b.py", 3, 5, 3, 9),
    related=(Related(Location("src/a b.py", 2, 1, 2, 5), "the optimizer"),),
    help="start from 1e-3",
    fix=Fix(
        "lower it",
        (Edit(Location("src/a b.py", 3, 8, 3, 9), "1e-3"),),
        Applicability.SAFE,
    ),
)
NO_CLEARING = Finding(
    code="LOP001",
    slug="zero-grad-missing",
    severity=Severity.ERROR,
    confidence=Confidence.HIGH,
    message="gradients are never cleared",
    location=Location("src/a b.py", 5, 13, 5, 28),
)
NOTE = Finding(
    code="LOP001",
    slug="zero-grad-missing",
    severity=Severity.INFO,
    confidence=Confidence.LOW,
    message="control \x00\x1b[31m character \ud800",
    location=Location(OTHER, 1, 1, 2, 3),
    fix=Fix(
        "clear them",
        (
            Edit(Location(OTHER, 1, 1, 1, 1), "a\n"),
            Edit(Location("src/a b.py", 1, 1, 1, 1), "b\n"),
        ),
    ),
)
PROBLEMS = (
    UserError("cannot parse: it's 100 % wrong", path="b,c;d.py", line=3, column=7),
    UserError("no such file", path="gone.py"),
    UserError("interrupted"),
)
REPORT = Report((HIGH_RATE, NO_CLEARING, NOTE), PROBLEMS, {"src/a b.py": SOURCE, OTHER: "x = 1\n"})
EMPTY = Report((), (), {})


def rendered(name: str, report: Report = REPORT) -> str:
    return render(name, report).decode()


def test_every_format_of_the_command_line_can_be_written():
    assert {*MODULES, "full", "concise", "grouped"} == set(OUTPUT_FORMATS)
    for name in MODULES:
        assert rendered(name)
        assert isinstance(rendered(name, EMPTY), str)


def test_json_lines_are_objects_like_those_of_json():
    lines = [json.loads(line) for line in rendered("json-lines").splitlines()]
    assert lines == json.loads(rendered("json"))["findings"]


@pytest.mark.parametrize("report", [REPORT, EMPTY], ids=["findings", "nothing"])
def test_sarif_follows_the_standard(report, faults):
    assert faults(json.loads(rendered("sarif", report))) == []


def test_sarif_says_all_that_is_known_of_a_finding():
    (run,) = json.loads(rendered("sarif"))["runs"]
    rules = run["tool"]["driver"]["rules"]
    first, second, third = run["results"]
    assert rules[first["ruleIndex"]]["id"] == first["ruleId"] == "OPT001"
    described = rules[second["ruleIndex"]]
    assert described["name"] == "zero-grad-missing"
    assert "```python" in described["help"]["markdown"]
    assert described["properties"]["tags"] == ["loop"]
    assert [result["level"] for result in run["results"]] == ["warning", "error", "note"]
    assert second["rank"] > first["rank"] > third["rank"]
    place = first["locations"][0]["physicalLocation"]
    assert place["artifactLocation"] == {"uri": "src/a%20b.py", "uriBaseId": "%SRCROOT%"}
    assert place["region"] == {"startLine": 3, "startColumn": 5, "endLine": 3, "endColumn": 9}
    assert first["relatedLocations"][0]["message"]["text"] == "the optimizer"
    (change,) = first["fixes"][0]["artifactChanges"]
    assert change["replacements"][0]["insertedContent"]["text"] == "1e-3"
    assert len(third["fixes"][0]["artifactChanges"]) == 2
    elsewhere = third["locations"][0]["physicalLocation"]["artifactLocation"]
    assert elsewhere == {"uri": "file:///elsewhere/a%20b.py"}
    base = run["originalUriBaseIds"]["%SRCROOT%"]["uri"]
    assert base == Path.cwd().as_uri() + "/"
    (invocation,) = run["invocations"]
    assert not invocation["executionSuccessful"]
    assert len(invocation["toolExecutionNotifications"]) == 3


def test_sarif_links_the_first_reference_that_has_an_address():
    unused = msgspec.structs.replace(NOTE, code="SUP001", slug="unused-suppression")
    (run,) = json.loads(rendered("sarif", Report((unused,), (), {})))["runs"]
    (rule,) = run["tool"]["driver"]["rules"]
    assert rule["helpUri"] == "https://docs.astral.sh/ruff/rules/unused-noqa/"


def test_sarif_names_a_rule_whose_class_is_not_at_hand(faults):
    foreign = msgspec.structs.replace(NOTE, code="XYZ001", slug="of-another-project")
    log = json.loads(rendered("sarif", Report((foreign,), (), {})))
    assert faults(log) == []
    assert log["runs"][0]["tool"]["driver"]["rules"] == [
        {"id": "XYZ001", "name": "of-another-project"}
    ]


WORKFLOW_COMMAND = re.compile(r"::(error|warning|notice) ((?:[a-zA-Z]+=[^,:\r\n]*,?)*)::(.*)")


def test_github_commands_escape_what_would_end_them():
    lines = rendered("github").splitlines()
    parsed = [WORKFLOW_COMMAND.fullmatch(line) for line in lines]
    assert len(lines) == 6
    assert all(parsed)
    first = dict(pair.split("=", 1) for pair in parsed[0][2].split(","))
    assert first == {
        "title": "convlint (adaptive-lr-high)",
        "file": "src/a b.py",
        "line": "3",
        "col": "5",
        "endLine": "3",
        "endColumn": "9",
    }
    assert "100 %25 too high:%0A" in parsed[0][3]
    assert "endColumn" not in parsed[2][2]
    assert "file=b%2Cc;d.py,line=3,col=7" in parsed[3][2]
    assert [match[1] for match in parsed[:3]] == ["warning", "error", "notice"]


LOGGING_COMMAND = re.compile(r"##vso\[task\.logissue ((?:[a-z]+=[^;\]\r\n]*;)+)\]([^\r\n]*)")


def test_azure_commands_escape_what_would_end_them():
    parsed = [LOGGING_COMMAND.fullmatch(line) for line in rendered("azure").splitlines()]
    assert len(parsed) == 6
    assert all(parsed)
    first = dict(pair.split("=", 1) for pair in parsed[0][1].rstrip(";").split(";"))
    assert first["type"] == "warning"
    assert (first["sourcepath"], first["linenumber"], first["code"]) == (
        "src/a b.py",
        "3",
        "OPT001",
    )
    assert "sourcepath=b,c%3Bd.py;" in parsed[3][1]
    assert "100 %AZP25 too high:%0A]]>" in parsed[0][2]


CODE_QUALITY = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["description", "check_name", "fingerprint", "severity", "location"],
        "properties": {
            "description": {"type": "string", "minLength": 1},
            "check_name": {"type": "string", "minLength": 1},
            "fingerprint": {"type": "string", "minLength": 1},
            "severity": {"enum": ["info", "minor", "major", "critical", "blocker"]},
            "location": {
                "type": "object",
                "required": ["path", "lines"],
                "properties": {
                    "path": {"type": "string", "pattern": r"^(?!\./)"},
                    "lines": {
                        "type": "object",
                        "required": ["begin"],
                        "properties": {
                            "begin": {"type": "integer", "minimum": 1},
                            "end": {"type": "integer", "minimum": 1},
                        },
                    },
                },
            },
        },
    },
}
"""https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format"""


def test_gitlab_report_follows_its_format_and_has_no_fingerprint_twice():
    twice = Report((NO_CLEARING, NO_CLEARING, NOTE), PROBLEMS, REPORT.texts)
    for report in (REPORT, EMPTY, twice):
        issues = json.loads(rendered("gitlab", report))
        jsonschema.Draft202012Validator(CODE_QUALITY).validate(issues)
        fingerprints = [issue["fingerprint"] for issue in issues]
        assert len(set(fingerprints)) == len(fingerprints)


def test_junit_report_can_be_read_and_its_counts_are_right():
    root = ElementTree.fromstring(rendered("junit"))
    assert root.tag == "testsuites"
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("6", "3", "3")
    for suite in root:
        cases = suite.findall("testcase")
        assert int(suite.get("tests")) == len(cases) == len(list(suite))
        assert int(suite.get("failures")) == len(suite.findall("testcase/failure"))
        assert int(suite.get("errors")) == len(suite.findall("testcase/error"))
        for case in cases:
            assert case.get("name")
            assert case.get("classname") == suite.get("name")
    failure = root.find("testsuite/testcase/failure")
    assert failure.get("message").startswith("learning rate 1 is 100 % too high:")
    assert "]]> <b> & ; , ::" in failure.text
    nothing = ElementTree.fromstring(rendered("junit", EMPTY))
    assert (nothing.get("tests"), nothing.get("failures")) == ("1", "0")
    assert nothing.find("testsuite/testcase") is not None


POSITION = {
    "type": "object",
    "required": ["line"],
    "properties": {
        "line": {"type": "integer", "minimum": 1},
        "column": {"type": "integer", "minimum": 1},
    },
    "additionalProperties": False,
}
RANGE = {
    "type": "object",
    "required": ["start"],
    "properties": {"start": POSITION, "end": POSITION},
    "additionalProperties": False,
}
RD_LOCATION = {
    "type": "object",
    "required": ["path"],
    "properties": {"path": {"type": "string"}, "range": RANGE},
    "additionalProperties": False,
}
DIAGNOSTIC_RESULT = {
    "type": "object",
    "required": ["diagnostics"],
    "additionalProperties": False,
    "properties": {
        "source": {"type": "object", "required": ["name"]},
        "severity": {"enum": ["UNKNOWN_SEVERITY", "ERROR", "WARNING", "INFO"]},
        "diagnostics": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["message", "location"],
                "additionalProperties": False,
                "properties": {
                    "message": {"type": "string"},
                    "location": RD_LOCATION,
                    "severity": {"enum": ["UNKNOWN_SEVERITY", "ERROR", "WARNING", "INFO"]},
                    "source": {"type": "object"},
                    "code": {"type": "object", "required": ["value"]},
                    "suggestions": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["range", "text"],
                            "properties": {"range": RANGE, "text": {"type": "string"}},
                            "additionalProperties": False,
                        },
                    },
                    "original_output": {"type": "string"},
                    "related_locations": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["location"],
                            "properties": {"message": {"type": "string"}, "location": RD_LOCATION},
                            "additionalProperties": False,
                        },
                    },
                },
            },
        },
    },
}
"""https://github.com/reviewdog/reviewdog/blob/master/proto/rdf/reviewdog.proto"""


def test_rdjson_follows_its_format_with_columns_in_bytes():
    output = json.loads(rendered("rdjson"))
    jsonschema.Draft202012Validator(DIAGNOSTIC_RESULT).validate(output)
    first, second, third = output["diagnostics"][:3]
    assert first["suggestions"] == [
        {
            "range": {"start": {"line": 3, "column": 8}, "end": {"line": 3, "column": 9}},
            "text": "1e-3",
        }
    ]
    # é takes two bytes
    assert second["location"]["range"]["start"] == {"line": 5, "column": 14}
    assert "suggestions" not in third


def test_pylint_lines_are_of_its_parseable_shape():
    lines = rendered("pylint").splitlines()
    shape = re.compile(
        r"(?P<path>[^:]+):(?P<line>\d+): \[(?P<id>\w+)\((?P<symbol>[\w-]+)\), .*\] .+"
    )
    assert len(lines) == 6
    assert all(shape.fullmatch(line) for line in lines)
    assert lines[0].startswith("src/a b.py:3: [OPT001(adaptive-lr-high), ] learning rate 1")
