"""How a notebook shows what was measured: the page of ``--report`` in a frame of its own."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convlint.findings import Finding
    from convlint.gpu_probes.observations import Observations
    from convlint.report.run import RunReport

HEIGHT = 640
"""Pixels of the frame; it can be dragged larger."""

_COLOURS = {"error": "#c62828", "warning": "#ef6c00", "info": "#546e7a"}


def observations_html(seen: Observations) -> str:
    """The page on one probe; without jinja2 a fragment with its findings and its summary."""
    from convlint.audit import measure
    from convlint.cost import cost_of
    from convlint.findings import Severity
    from convlint.report.measured import measured_summary
    from convlint.report.remedies import remedy_lines
    from convlint.report.run import RunReport

    measured = measure(seen)
    found = [finding for finding in measured if finding.severity is not Severity.INFO]
    cost = cost_of(seen) if seen.steps else None
    page = page_in_frame(
        RunReport(
            shown=seen.script,
            findings=found,
            problems=(),
            texts={},
            seen=seen,
            verdict=None,
            hidden=len(measured) - len(found),
            cost=cost,
        )
    )
    if page is not None:
        return page
    rows = "".join(map(_row, found)) or "<li>Nothing found.</li>"
    lines = list(measured_summary(seen, cost))
    if seen.remedies is not None:
        lines += remedy_lines(seen.remedies)
    summary = "\n".join("".join(text for text, _ in line) for line in lines)
    return f"<div><ul>{rows}</ul><pre>{escape(summary)}</pre></div>"


def page_in_frame(run: RunReport) -> str | None:
    """The page on ``run``, isolated: its styles and names stay within, and it runs nothing.

    None where jinja2, which writes it, is not installed.
    """
    from convlint.report.html import render_run

    try:
        page = render_run(run).decode()
    except ModuleNotFoundError as error:
        if error.name != "jinja2":
            raise
        return None
    return (
        f'<iframe srcdoc="{escape(page)}" sandbox="allow-downloads" title="convlint"'
        f' style="width:100%;height:{HEIGHT}px;border:0;resize:vertical;overflow:auto"></iframe>'
    )


def _row(finding: Finding) -> str:
    colour = _COLOURS.get(finding.severity.value, "inherit")
    mark = f'<b style="color:{colour}">{escape(finding.severity.value)}</b>'
    help_ = f"<br><i>{escape(finding.help)}</i>" if finding.help else ""
    return f"<li>{mark} <code>{escape(finding.slug)}</code>: {escape(finding.message)}{help_}</li>"
