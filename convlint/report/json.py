"""Findings as JSON for programs, and the JSON Schema of that output.

The structs below are the one definition of the format: they are what is encoded, and
``output_schema`` is derived from them. ``python -m convlint.report.json`` prints the schema.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from convlint import __version__
from convlint.cost import Cost
from convlint.curves.facts import Curves
from convlint.findings import (
    Applicability,
    Confidence,
    Severity,
    Verdict,
)
from convlint.gpu_probes.observations import Observations

if TYPE_CHECKING:
    from collections.abc import Iterable

    from convlint.errors import UserError
    from convlint.findings import Finding, Location
    from convlint.report.formats import Report

Position = Annotated[int, msgspec.Meta(ge=1)]


class OutputEdit(msgspec.Struct, frozen=True):
    """Replace the text from (line, column) up to (end_line, end_column) of path."""

    path: str
    line: Position
    column: Position
    end_line: Position
    end_column: Position
    replacement: str


class OutputFix(msgspec.Struct, frozen=True):
    """Text edits that remove the fault; a safe fix changes nothing else."""

    message: str
    applicability: Applicability
    edits: tuple[OutputEdit, ...]


class OutputEvidence(msgspec.Struct, frozen=True):
    """One fact the finding rests on: source is static, measured or logged; value is its number,
    in unit, when there is one; expected says in words what a healthy run shows."""

    source: str
    statement: str
    quantity: str
    value: float | None
    unit: str
    expected: str


class OutputJudgement(msgspec.Struct, frozen=True):
    """What the measurement says about a finding made from source (convlint audit)."""

    verdict: Verdict
    reason: str


class OutputFinding(msgspec.Struct, frozen=True, kw_only=True):
    """One fault. Lines and columns count from 1; the end is exclusive. path is relative to the
    working directory for files below it. In a notebook, cell counts from 1 over all cells and lines
    are those of the cell."""

    code: str
    slug: str
    severity: Severity
    confidence: Confidence
    message: str
    path: str
    cell: Position | None
    line: Position
    column: Position
    end_line: Position
    end_column: Position
    help: str
    fix: OutputFix | None
    verdict: OutputJudgement | None
    evidence: tuple[OutputEvidence, ...]


class OutputVerdict(msgspec.Struct, frozen=True):
    """Whether to start the long run (convlint audit), and why in one sentence."""

    decision: Literal["go", "go with care", "no-go"]
    reason: str


class OutputProblem(msgspec.Struct, frozen=True):
    """What could not be done: a file that cannot be read or parsed, a mistake in the
    configuration, a script that raised. path is empty, line and column are null where there is
    none."""

    message: str
    path: str
    line: Position | None
    column: Position | None


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """The output of convlint check, probe, audit and curves with --output-format json.
    observations is null for check and curves, verdict is null for all but audit, curves (one entry
    for each log that could be read) is null for all but curves. measured_at is the time (UTC) of the run when it was kept from
    then, null when it was made for this output. findings are complete only when problems is empty."""

    version: str
    findings: tuple[OutputFinding, ...]
    problems: tuple[OutputProblem, ...]
    observations: Observations | None
    verdict: OutputVerdict | None
    cost: Cost | None
    curves: tuple[Curves, ...] | None
    measured_at: str | None = None


def to_json(
    findings: Iterable[Finding],
    *,
    problems: Iterable[UserError] = (),
    observations: Observations | None = None,
    verdict: tuple[str, str] | None = None,
    cost: Cost | None = None,
    curves: Iterable[Curves] | None = None,
    measured_at: float | None = None,
) -> bytes:
    """The whole output, indented, with a newline at its end.

    ``verdict`` is the decision and its reason, ``cost`` what the run will cost, ``curves`` what was read of each log,
    ``measured_at`` when a run was made that was kept from then, in seconds since 1970.
    """
    output = Output(
        version=__version__,
        findings=tuple(finding_output(finding) for finding in findings),
        problems=tuple(_problem(problem) for problem in problems),
        observations=observations,
        verdict=None
        if verdict is None
        else msgspec.convert({"decision": verdict[0], "reason": verdict[1]}, OutputVerdict),
        cost=cost,
        curves=None if curves is None else tuple(curves),
        measured_at=None if measured_at is None else _in_utc(measured_at),
    )
    return msgspec.json.format(msgspec.json.encode(output), indent=2) + b"\n"


def _in_utc(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")


def render(report: Report) -> bytes:
    """The output of ``check``."""
    return to_json(report.findings, problems=report.problems)


def output_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) every output follows."""
    schema = msgspec.json.schema(Output, ref_template="#/$defs/{name}")
    for definition in schema["$defs"].values():
        if "description" in definition:
            definition["description"] = " ".join(definition["description"].split())
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Output of convlint --output-format json",
        **schema,
    }
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(whole))
    return plain


def finding_output(finding: Finding) -> OutputFinding:
    """One finding as it is written."""
    place = finding.location
    fix = finding.fix
    return OutputFinding(
        code=finding.code,
        slug=finding.slug,
        severity=finding.severity,
        confidence=finding.confidence,
        message=_encodable(finding.message),
        path=_encodable(place.path),
        cell=place.cell or None,
        line=place.shown_line,
        column=place.column,
        end_line=place.shown_end_line,
        end_column=place.end_column,
        help=_encodable(finding.help),
        fix=None
        if fix is None
        else OutputFix(
            fix.message,
            fix.applicability,
            tuple(_edit(edit.location, edit.replacement) for edit in fix.edits),
        ),
        verdict=None
        if finding.judgement is None
        else OutputJudgement(finding.judgement.verdict, finding.judgement.reason),
        evidence=tuple(
            msgspec.convert(evidence, OutputEvidence, from_attributes=True)
            for evidence in finding.evidence
        ),
    )


def _problem(problem: UserError) -> OutputProblem:
    return OutputProblem(
        _encodable(problem.message),
        _encodable(problem.path),
        problem.line or None,
        problem.column or None,
    )


def _encodable(text: str) -> str:
    """File names may hold bytes that are no text, and messages quote source; JSON cannot."""
    return text.encode(errors="backslashreplace").decode()


def _edit(place: Location, replacement: str) -> OutputEdit:
    return OutputEdit(
        _encodable(place.path),
        place.shown_line,
        place.column,
        place.shown_end_line,
        place.end_column,
        _encodable(replacement),
    )


if __name__ == "__main__":
    import sys

    schema = msgspec.json.encode(output_schema())
    sys.stdout.buffer.write(msgspec.json.format(schema, indent=2) + b"\n")
