"""What a training log says, in a few lines a person reads at a glance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.report.text import FAINT, STRONG, format_number
from convlint.rules.patterns.logs import moves_its_target

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from convlint.curves.facts import Curve, Curves
    from convlint.findings import Finding
    from convlint.report.text import Line

VERDICTS = (
    ("diverged-curve", "diverged", "bold red"),
    ("overfitting", "overfitting", "bold yellow"),
    ("underfitting", "underfitting", "bold yellow"),
    ("oscillating-curve", "oscillating", "bold yellow"),
    ("loss-spikes", "spiky", "bold yellow"),
    ("slow-curve", "too slow", "bold yellow"),
    ("plateau-reached", "plateaued", "bold cyan"),
    ("range-test", "range test", "bold cyan"),
)
"""The word for a log by the rule that spoke, the worst first."""

SAID_BY_NOTES = ("slow-curve", "plateau-reached", "range-test")
"""Notes that make a verdict; of the others, a note means that the log alone cannot tell."""

HEALTHY = "healthy"
UNDETERMINED = "undetermined"

NAME_WIDTH = 24
PLOT_SIZE = (78, 16)
NO_PLOT = "plots are drawn by plotext: pip install 'convlint[logs]'"


def verdict(curves: Curves, findings: Sequence[Finding]) -> str:
    """One word for the log: that of the worst finding, ``healthy`` when a loss comes down, or
    ``undetermined``."""
    serious = {finding.slug for finding in findings if finding.severity.rank > 0}
    noted = {finding.slug for finding in findings}
    for slug, word, _ in VERDICTS:
        if slug in serious or (slug in noted and slug in SAID_BY_NOTES):
            return word
    if moves_its_target(curves) or curves.range_test is not None:
        return UNDETERMINED
    losses = [curve for curve in curves.curves if curve.quantity == "loss"]
    if any(curve.kind == "converging" and curve.lost_from is None for curve in losses):
        return HEALTHY
    return UNDETERMINED


def log_summary(curves: Curves, findings: Sequence[Finding]) -> Iterator[Line]:
    """The verdict on the log, a line for each loss and score, and what was odd."""
    word = verdict(curves, findings)
    style = {name: style for _, name, style in VERDICTS}.get(word, STRONG)
    if word == HEALTHY:
        style = "bold green"
    yield ((f"{curves.path}: ", STRONG), (word, style), (f" ({curves.format})", FAINT))
    for curve in curves.curves:
        if curve.quantity in ("loss", "score"):
            yield ((f"  {curve.name:<{NAME_WIDTH - 1}} ", ""), (_course(curve), ""))
    if len(curves.phases) > 1:
        rates = ", ".join(
            f"{format_number(phase.first)} from step {format_number(phase.start)}"
            for phase in curves.phases[:5]
        )
        more = f" and {len(curves.phases) - 5} more" if len(curves.phases) > 5 else ""
        yield ((f"  {'learning rate':<{NAME_WIDTH}}", ""), (rates + more, ""))
    for remark in curves.remarks:
        yield ((f"  {'remark':<{NAME_WIDTH}}", FAINT), (remark, FAINT))


def plotted(curves: Curves) -> Iterator[Line]:
    """The losses over their steps, drawn with plotext; a hint where it is not installed."""
    losses = [curve for curve in curves.curves if curve.quantity == "loss" and curve.shape]
    if not losses:
        return
    try:
        import plotext
    except ImportError:
        yield ((NO_PLOT, FAINT),)
        return
    figure = plotext.figure
    figure.clear()
    figure.plot_size(*PLOT_SIZE)
    for curve in losses[:4]:
        span = curve.last_step - curve.first_step
        count = max(len(curve.shape) - 1, 1)
        steps = [curve.first_step + span * k / count for k in range(len(curve.shape))]
        signal = figure.signal(steps, list(curve.shape))
        signal.label(curve.name)
        figure.draw(signal)
    for line in plotext.uncolorize(str(figure.build())).splitlines():
        yield ((line, ""),)


def _course(curve: Curve) -> str:
    if curve.first is None or curve.last is None:
        return "no finite value"
    text = f"{format_number(curve.first)} to {format_number(curve.last)} in {curve.points} points"
    if curve.kind and curve.kind != "undetermined":
        text += f", {curve.kind}"
    if curve.rate is not None and curve.rate_class == "linear":
        text += f" at ×{curve.rate:.6g} a step"
    elif curve.rate is not None and curve.rate_class == "sublinear":
        text += f" like step^-{curve.rate:.2g}"
    ahead = curve.forecast
    if ahead is not None:
        text += (
            f"; {format_number(ahead.low)} to {format_number(ahead.high)} expected at step "
            f"{ahead.step:,.0f}"
        )
    return text
