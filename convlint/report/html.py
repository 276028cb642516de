"""One run as a self-contained HTML page: no script, no network, readable anywhere and on paper.

The page forbids itself everything but its own style (a content security policy), and every string
is escaped by jinja2, so that names in a user's program stay text.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING

from convlint import __version__
from convlint.report.costs import memory_cost, probe_cost, run_cost
from convlint.report.excerpts import anchor_of, excerpts_of
from convlint.report.formats import encoded
from convlint.report.json import to_json
from convlint.report.measured import kept_since, noise_scale, stopped_because
from convlint.report.plots import plots
from convlint.report.remedies import HEADINGS, rows, tried_on
from convlint.report.text import evidence_text, format_number, one_line, said_by
from convlint.sources import without_working_directory

if TYPE_CHECKING:
    from convlint.findings import Finding
    from convlint.report.run import RunReport

TEMPLATES = Path(__file__).parent / "templates"


def render_run(run: RunReport) -> bytes:
    """The page on ``run``, as UTF-8."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["one_line"] = one_line
    environment.filters["number"] = format_number
    seen = run.seen
    page = environment.get_template("run.html.jinja").render(
        version=__version__,
        run=run,
        style=(TEMPLATES / "run.css").read_text(),
        seen=seen,
        stopped="" if seen is None else stopped_because(seen),
        verdict=run.verdict,
        reason="" if run.verdict is None else without_working_directory(run.verdict.reason),
        remedies=None if seen is None or seen.remedies is None else list(rows(seen.remedies)),
        remedy_headings=HEADINGS,
        tried_on="" if seen is None or seen.remedies is None else tried_on(seen.remedies),
        plots=[] if seen is None else list(plots(seen)),
        excerpts=excerpts_of(run.findings, run.texts),
        anchor_of=anchor_of,
        evidence=_evidence,
        facts=_facts(run),
        kept="" if run.measured_at is None else kept_since(run.measured_at),
        numbers=base64.b64encode(_numbers(run)).decode(),
    )
    return encoded(page)


def _numbers(run: RunReport) -> bytes:
    verdict = run.verdict
    stated = None
    if verdict is not None:
        stated = (verdict.decision.value, without_working_directory(verdict.reason))
    return to_json(
        run.findings,
        problems=run.problems,
        observations=run.seen,
        verdict=stated,
        cost=run.cost,
        measured_at=run.measured_at,
    )


def _facts(run: RunReport) -> list[tuple[str, str]]:
    """What has no plot, each under its name: the gradient noise, what the run and the probe cost."""
    noise = None if run.seen is None else run.seen.gradient_noise
    cost = run.cost
    named = (
        ("Gradient noise", noise_scale(noise) if noise and noise.scale.value is not None else ""),
        ("The whole run", run_cost(cost) if cost else ""),
        ("Memory", memory_cost(cost) if cost else ""),
        ("The probe took", probe_cost(cost) if cost else ""),
    )
    return [(name, text) for name, text in named if text]


def _evidence(finding: Finding) -> list[tuple[str, str]]:
    """What the finding rests on, each with the kind of evidence; nothing said twice."""
    judged = finding.judgement
    return [
        (evidence.source, one_line(evidence_text(evidence)))
        for evidence in finding.evidence
        if judged is None or not said_by(evidence, judged)
    ]
