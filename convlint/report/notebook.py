"""How a notebook shows what was measured: the findings, then the summary."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convlint.findings import Finding
    from convlint.gpu_probes.observations import Observations

_COLOURS = {"error": "#c62828", "warning": "#ef6c00", "info": "#546e7a"}


def observations_html(seen: Observations) -> str:
    """A fragment of HTML that needs no style sheet, script or network."""
    from convlint.audit import measure
    from convlint.findings import Severity
    from convlint.report.measured import measured_summary
    from convlint.report.remedies import remedy_lines

    found = [finding for finding in measure(seen) if finding.severity is not Severity.INFO]
    rows = "".join(map(_row, found)) or "<li>Nothing found.</li>"
    lines = list(measured_summary(seen))
    if seen.remedies is not None:
        lines += remedy_lines(seen.remedies)
    summary = "\n".join("".join(text for text, _ in line) for line in lines)
    return f"<div><ul>{rows}</ul><pre>{escape(summary)}</pre></div>"


def _row(finding: Finding) -> str:
    colour = _COLOURS.get(finding.severity.value, "inherit")
    mark = f'<b style="color:{colour}">{escape(finding.severity.value)}</b>'
    help_ = f"<br><i>{escape(finding.help)}</i>" if finding.help else ""
    return f"<li>{mark} <code>{escape(finding.slug)}</code>: {escape(finding.message)}{help_}</li>"
