"""One run as Markdown: a comment on a pull request, the summary of a GitHub Actions step.

Names and messages hold whatever the user's program does. They are escaped so that they stay text,
mention nobody and refer to no issue.
"""

from __future__ import annotations

import os
import re
from pathlib import PurePath
from typing import TYPE_CHECKING
from urllib.parse import quote

from convlint.findings import Severity
from convlint.report.costs import run_cost
from convlint.report.formats import encoded
from convlint.report.measured import kept_since, measured_summary
from convlint.report.remedies import HEADINGS, rows, tried_on
from convlint.report.text import count, one_line
from convlint.sources import without_working_directory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from convlint.findings import Finding, Location
    from convlint.gpu_probes.observations.remedies import Remedies
    from convlint.report.run import RunReport

MOST_FINDINGS = 30
"""GitHub refuses comments of more than 65,536 characters; nobody reads the rest there."""

LONGEST_TEXT = 500
"""Letters of one message."""

_MARKS = {Severity.ERROR: "❌", Severity.WARNING: "⚠️", Severity.INFO: "ℹ️"}
_DECISION_MARKS = {"go": "✅", "go with care": "⚠️", "no-go": "❌"}


def render_run(run: RunReport) -> bytes:
    """The report as UTF-8."""
    return encoded("\n".join(_lines(run)) + "\n")


def _lines(run: RunReport) -> Iterator[str]:
    verdict = run.verdict
    if verdict is None:
        yield f"## convlint probe of {code(run.shown)}"
    else:
        decision = verdict.decision.value
        yield f"## {_DECISION_MARKS[decision]} convlint audit of {code(run.shown)}: {decision}"
        yield ""
        yield prose(without_working_directory(verdict.reason))
    yield ""
    if run.cost is not None:
        yield f"The whole run: {prose(run_cost(run.cost))}."
        yield ""
    for problem in run.problems:
        yield f"- ❌ {prose(str(problem))}"
    if run.problems:
        yield ""
    yield from _findings(run.findings)
    if run.hidden:
        yield f"{count(run.hidden, 'info finding')} not shown; `--show-info` shows them."
        yield ""
    if run.seen is not None and run.seen.remedies is not None:
        yield from _remedies(run.seen.remedies)
    if run.seen is not None:
        yield from _measured(run)


def _findings(findings: Sequence[Finding]) -> Iterator[str]:
    if not findings:
        yield "Nothing found."
        yield ""
        return
    yield "| | finding | where | measured |"
    yield "|---|---|---|---|"
    worst_first = sorted(findings, key=lambda finding: -finding.severity.rank)
    for finding in worst_first[:MOST_FINDINGS]:
        judged = finding.judgement
        measured = "by measuring alone" if judged is None else f"**{judged.verdict.value}**"
        if judged is not None and judged.reason:
            measured += f": {prose(judged.reason)}"
        help_ = f"<br>What to do: {prose(finding.help)}" if finding.help else ""
        mark = f"{_MARKS[finding.severity]} {finding.severity.value}"
        name = f"**{prose(finding.slug)}** ({prose(finding.code)})"
        yield (
            f"| {mark} | {name}: {prose(finding.message)}{help_}"
            f" | {_link(finding.location)} | {measured} |"
        )
    if len(findings) > MOST_FINDINGS:
        yield ""
        yield f"{len(findings) - MOST_FINDINGS} more are in the full report."
    yield ""


def _remedies(remedies: Remedies) -> Iterator[str]:
    yield f"**Remedies**: {prose(tried_on(remedies))}."
    yield ""
    yield "| | " + " | ".join(HEADINGS) + " |"
    yield "|---" * (len(HEADINGS) + 1) + "|"
    for outcome, change, predicted, measured, written in rows(remedies):
        shown = code(written) if written else ""
        yield f"| {outcome} | {prose(change)} | {prose(predicted)} | {prose(measured)} | {shown} |"
    yield ""


def _measured(run: RunReport) -> Iterator[str]:
    assert run.seen is not None
    lines = [
        "".join(text for text, _ in line).rstrip() for line in measured_summary(run.seen, run.cost)
    ]
    if run.measured_at is not None:
        yield f"It was {prose(kept_since(run.measured_at))}."
        yield ""
    yield "<details><summary>What was measured, and what was not</summary>"
    yield ""
    # Four blanks before each line: code that no content can end, as a fence could be.
    yield from (f"    {line}" for line in lines if line)
    yield ""
    yield "</details>"


def code(text: str) -> str:
    """A code span, whatever stands in it."""
    shown = one_line(text).replace("|", "\\|")
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    fence = "`" * (longest + 1)
    blank = " " if longest else ""
    return f"{fence}{blank}{shown}{blank}{fence}"


def prose(text: str) -> str:
    """Text without markup, mentions and references."""
    shown = one_line(text)
    if len(shown) > LONGEST_TEXT:
        shown = shown[:LONGEST_TEXT] + "…"
    escaped = re.sub(r"([\\`*_{}\[\]<>#!|~&$])", r"\\\1", shown)
    # An empty comment after the sign keeps GitHub from seeing a mention or a reference.
    return re.sub(r"(@|\\#)(?=\w)", r"\1<!-- -->", escaped)


def _link(place: Location) -> str:
    """The place; in GitHub Actions as a link to the line of the commit."""
    shown = code(f"{place.shown_path}:{place.shown_line}")
    server, repository, commit = (
        os.environ.get(f"GITHUB_{name}", "") for name in ("SERVER_URL", "REPOSITORY", "SHA")
    )
    if not (server and repository and commit) or PurePath(place.path).is_absolute():
        return shown
    path = quote(PurePath(place.path).as_posix())
    return f"[{shown}]({server}/{repository}/blob/{commit}/{path}#L{place.line})"
