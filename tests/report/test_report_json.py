from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from convlint import __version__
from convlint.findings import (
    Applicability,
    Confidence,
    Edit,
    Evidence,
    Finding,
    Fix,
    Judgement,
    Location,
    Severity,
    Verdict,
)
from convlint.gpu_probes.observations import (
    Convergence,
    Device,
    Measurement,
    Observations,
    Place,
    Series,
    Skipped,
)
from convlint.report.json import output_schema, to_json

SCHEMA_FILE = Path(__file__).parents[2] / "docs" / "output.schema.json"


@pytest.fixture
def whole_finding() -> Finding:
    place = Location("a.py", 3, 5, 3, 9)
    return Finding(
        code="LOP001",
        slug="zero-grad-missing",
        severity=Severity.ERROR,
        confidence=Confidence.HIGH,
        message="Gradients are never cleared",
        location=place,
        evidence=(Evidence("measured", "left over", "share", float("nan"), "", "0"),),
        help="Clear them.",
        fix=Fix("clear", (Edit(place, "optimizer.zero_grad()"),), Applicability.SAFE),
        judgement=Judgement(Verdict.CONFIRMED, "non-zero in 5 of 5 steps"),
    )


@pytest.fixture
def observations() -> Observations:
    return Observations(
        script="a.py",
        arguments=("--lr", "1"),
        device=Device("cpu", "cpu", "2.13.0", "3.11", "torch"),
        stopped="steps",
        held=8,
        steps=2,
        seconds=1.5,
        series=Series(loss=(1.0, None), seconds=(0.1, 0.1)),
        convergence=Convergence("slow", "linear", Measurement(0.99, ci=(0.9, 1.0)), 0.1, 1.0, 0.9),
        skipped=(Skipped("curvature", "budget"),),
        error_place=Place("/a.py", 3),
    )


def validated(data: bytes) -> dict:
    output = json.loads(data)
    jsonschema.Draft202012Validator(output_schema()).validate(output)
    return output


def test_every_output_follows_the_schema(whole_finding, observations):
    validated(to_json([]))
    validated(to_json([whole_finding]))
    verdict = ("no-go", "the loss diverges")
    output = validated(to_json([whole_finding], observations=observations, verdict=verdict))
    assert output["version"] == __version__
    assert output["verdict"] == {"decision": "no-go", "reason": "the loss diverges"}
    assert output["observations"]["series"]["loss"] == [1.0, None]


def test_finding_has_exactly_the_documented_fields(whole_finding):
    (finding,) = validated(to_json([whole_finding]))["findings"]
    assert finding == {
        "code": "LOP001",
        "slug": "zero-grad-missing",
        "severity": "error",
        "confidence": "high",
        "message": "Gradients are never cleared",
        "path": "a.py",
        "cell": None,
        "line": 3,
        "column": 5,
        "end_line": 3,
        "end_column": 9,
        "help": "Clear them.",
        "fix": {
            "message": "clear",
            "applicability": "safe",
            "edits": [
                {
                    "path": "a.py",
                    "line": 3,
                    "column": 5,
                    "end_line": 3,
                    "end_column": 9,
                    "replacement": "optimizer.zero_grad()",
                }
            ],
        },
        "verdict": {"verdict": "confirmed", "reason": "non-zero in 5 of 5 steps"},
        "evidence": [
            {
                "source": "measured",
                "statement": "left over",
                "quantity": "share",
                "value": None,
                "unit": "",
                "expected": "0",
            }
        ],
    }


def test_schema_refuses_output_that_strays(whole_finding):
    output = json.loads(to_json([whole_finding]))
    del output["findings"][0]["slug"]
    with pytest.raises(jsonschema.ValidationError, match="slug"):
        jsonschema.Draft202012Validator(output_schema()).validate(output)


def test_published_schema_is_the_current_one():
    published = json.loads(SCHEMA_FILE.read_text())
    message = f"write it again: python -m convlint.report.json > {SCHEMA_FILE}"
    assert published == output_schema(), message
