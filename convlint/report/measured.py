"""What a probe measured, in a few lines a person reads at a glance."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from convlint.report.costs import duration, memory_cost, probe_cost, run_cost
from convlint.report.sparklines import NARROW, by_depth, sparkline, spectrum
from convlint.report.text import FAINT, STRONG, Line, count, format_number, one_line
from convlint.rules.patterns.hessian import is_trusted, trusted_curvature
from convlint.sources import without_working_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.audit import RunVerdict
    from convlint.cost import Cost
    from convlint.gpu_probes.observations import (
        Convergence,
        Curvature,
        GradientFlow,
        GradientNoise,
        LearningRateRange,
        LossFunction,
        Measurement,
        Observations,
        OverfitOneBatch,
        QuadraticForecast,
        Ranks,
        ScheduleAhead,
    )

LABEL_WIDTH = 15
BARS_STYLE = "cyan"
SHOWN_FILES = 3

_STOPPED = {
    "steps": "all planned steps were run",
    "budget": "the time budget was used up",
    "finished": "the script ended by itself",
    "captured": "the script trains in a captured CUDA graph from there on",
    "no-training": "the script ended without training",
    "crashed": "the script crashed",
    "exited": "the script called exit",
}

_PHASE = {"start": "at the start", "end": "at the end"}

_CONVERGENCE_STYLE = {
    "diverging": "bold red",
    "oscillating": "bold yellow",
    "stalled": "bold yellow",
    "slow": "bold yellow",
    "converging": "bold green",
}


def measured_summary(
    seen: Observations, cost: Cost | None = None, measured_at: float | None = None
) -> Iterator[Line]:
    """A heading and one line for each quantity that was measured or skipped, and for the cost.

    ``measured_at`` is when a run was made that was kept from then, in seconds since 1970.
    """
    device = seen.device
    batches = "1 batch" if seen.held == 1 else f"{seen.held} batches"
    held = f"{batches} held at the initial parameters, " if seen.held else ""
    yield (
        ("Measured", STRONG),
        (f" on {device.name or device.kind} in {seen.seconds:.1f} s: ", ""),
        (f"{held}{seen.steps} steps; {stopped_because(seen)}.", ""),
    )
    if measured_at is not None:
        yield _entry("kept", kept_since(measured_at))
    if seen.ranks is not None:
        yield _entry("ranks", _ranks(seen.ranks))
    losses = [x for x in seen.losses if x.back_propagated and x.initial.value is not None]
    for loss in losses:
        yield _entry("initial loss", _initial_loss(loss, len(losses) > 1))
    if seen.convergence is not None:
        kind = seen.convergence.kind
        yield _entry(
            "loss",
            kind,
            _CONVERGENCE_STYLE.get(kind, STRONG),
            course(seen.convergence),
            bars=sparkline(seen.series.loss, NARROW),
        )
    for flow in seen.gradient_flow:
        bars = by_depth(flow)
        if flow.slope.value is not None:
            yield _entry("gradient flow", gradient_flow_text(flow), bars=bars)
        elif bars:
            yield _entry("gradient flow", "layer by layer, the input's side first", bars=bars)
    ratios = sorted(update.ratio.value for update in seen.updates if update.ratio.value is not None)
    if ratios:
        middle = ratios[len(ratios) // 2]
        yield _entry(
            "updates",
            f"each step changes a parameter by {format_number(100 * middle)} % of its size"
            f" (median of {count(len(ratios), 'tensor')}, {format_number(100 * ratios[0])} to"
            f" {format_number(100 * ratios[-1])} %)",
        )
    several = len({limit.optimizer for c in seen.curvature for limit in c.limits}) > 1
    for curvature in seen.curvature:
        if curvature.largest.value is not None:
            yield from _curvature(curvature, seen.convergence, several)
        if curvature.forecast is not None:
            yield _entry("plain steps", forecast_text(curvature.forecast, curvature.phase))
    known = trusted_curvature(seen)
    if known and (bars := spectrum(known[-1].density)):
        yield _entry("spectrum", _spectrum_text(known[-1]), bars=bars)
    if seen.gradient_noise is not None and seen.gradient_noise.scale.value is not None:
        yield _entry("gradient noise", noise_scale(seen.gradient_noise))
    if seen.learning_rate_range is not None:
        yield _entry("rate range", rate_range(seen.learning_rate_range))
    if seen.overfit is not None:
        yield _entry("one batch", one_batch(seen.overfit))
    if cost is not None:
        yield _entry("whole run", run_cost(cost))
        if memory_cost(cost):
            yield _entry("memory", memory_cost(cost))
        yield _entry("this probe", probe_cost(cost))
    for reason, names in _skipped_by_reason(seen).items():
        yield _entry("not measured", f"{', '.join(names)}: {reason}", FAINT)
    if seen.recognised:
        yield _entry("recognised", ", ".join(seen.recognised), FAINT)
    if seen.writes_held_back:
        files = seen.writes_held_back
        shown = ", ".join(files[:SHOWN_FILES]) + (", …" if len(files) > SHOWN_FILES else "")
        text = f"writes to {count(len(files), 'file')}: {one_line(shown)}"
        yield _entry("held back", text, FAINT)
    yield ()


def kept_since(measured_at: float) -> str:
    """``measured 2.1 h ago, unchanged since; --no-cache measures again``."""
    ago = duration(max(1.0, time.time() - measured_at))
    return f"measured {ago} ago, unchanged since; --no-cache measures again"


def stopped_because(seen: Observations) -> str:
    """Why the run ended, in one clause."""
    return _STOPPED.get(seen.stopped, seen.stopped)


_DECISION_STYLE = {"go": "bold green", "go with care": "bold yellow", "no-go": "bold red"}


def verdict_line(verdict: RunVerdict) -> Line:
    """``Verdict: go: the loss goes from 2.3 to 0.4``, and how the findings were judged."""
    counts = ", ".join(
        f"{number} {name}"
        for number, name in (
            (verdict.confirmed, "confirmed"),
            (verdict.refuted, "refuted"),
            (verdict.unmeasured, "unmeasured"),
            (verdict.measured, "only measured"),
        )
        if number
    )
    decision = verdict.decision.value
    return (
        ("Verdict: ", STRONG),
        (decision, _DECISION_STYLE[decision]),
        (f": {one_line(without_working_directory(verdict.reason))}", ""),
        (f" ({counts})" if counts else "", FAINT),
    )


def _entry(label: str, text: str, style: str = "", rest: str = "", *, bars: str = "") -> Line:
    shown = ((f"{bars} ", BARS_STYLE),) if bars else ()
    return ((f"  {label:<{LABEL_WIDTH}}", ""), *shown, (text, style), (rest, ""))


def _skipped_by_reason(seen: Observations) -> dict[str, list[str]]:
    """What was not measured, by the reason, so that a reason is told once."""
    found: dict[str, list[str]] = {}
    for skipped in seen.skipped:
        found.setdefault(one_line(skipped.reason), []).append(skipped.measurement)
    return found


def rate_range(tested: LearningRateRange) -> str:
    """What the learning-rate range test says."""
    said = []
    if tested.best is not None:
        best = format_number(tested.best)
        said.append(f"one step lowers the loss of other batches most at {best}")
    elif len(tested.one_step) == len(tested.rates):
        said.append("no single step lowers the loss of other batches")
    rising = []
    if tested.steepest is not None:
        rising.append(f"learns fastest at {format_number(tested.steepest)}")
    if tested.diverges is not None:
        rising.append(f"diverges at {format_number(tested.diverges)}")
    if rising:
        said.append(f"a rising rate {' and '.join(rising)}")
    if tested.suggested is not None:
        suggested = format_number(tested.suggested)
        said.append(f"a third of where it learns no more: {suggested}")
    said.append(f"in use: {format_number(tested.in_use)}")
    return "; ".join(said)


def noise_scale(noise: GradientNoise) -> str:
    """How many samples a batch needs for its gradient to hold as much signal as noise."""
    scale = noise.scale
    text = f"signal equals noise at {format_number(scale.value or 0.0)} {scale.unit}"
    if noise.at_least:
        text += " or more"
    if scale.ci is not None and not noise.at_least:
        low, high = scale.ci
        text += f" ({format_number(low)} to {format_number(high)})"
    if noise.step_size is not None:
        text += f"; a step averages {noise.step_size}"
    if noise.best_rate is not None and noise.best_rate.value and noise.rate_in_use:
        text += (
            f"; the best step of plain SGD has lr {format_number(noise.best_rate.value)}"
            f" (steps as long as those in use: {format_number(noise.rate_in_use)})"
        )
    return text


def one_batch(tried: OverfitOneBatch) -> str:
    """Whether the model learns one batch by heart."""
    best = min(tried.attempts, key=lambda attempt: attempt.excess)
    rate = "" if best.learning_rate is None else f" at {format_number(best.learning_rate)}"
    left = f"{format_number(100 * max(0.0, best.excess))} % of its loss left"
    if tried.floor:
        left += f" ({format_number(tried.floor)} is the smallest it can have)"
    blind = ""
    if tried.without_inputs is not None and tried.constant is not None:
        blind = (
            f"; with its inputs at zero {format_number(tried.without_inputs)}, where one answer for"
            f" all has {format_number(tried.constant)} at best"
        )
    return f"{tried.outcome}: {left} after {best.steps} steps of {best.optimizer}{rate}{blind}"


def _ranks(ranks: Ranks) -> str:
    if ranks.answered < ranks.count:
        return f"{ranks.answered} of {count(ranks.count, 'rank')} answered in time"
    parts = [f"{count(ranks.count, 'rank')}; shown is what the first saw"]
    if ranks.parameters_differ:
        parts.append(f"after the first step {ranks.parameters_differ[0]} differs between them")
    elif ranks.compared:
        parts.append("their parameters are the same after the first step")
    elif ranks.sharded:
        parts.append("their parameters are sharded")
    if ranks.gradients_differ:
        parts.append("so do their gradients" if ranks.parameters_differ else "gradients differ")
    if ranks.same_batches:
        parts.append("all train on the same batches")
    return "; ".join(parts)


def _initial_loss(loss: LossFunction, several: bool) -> str:
    """Its first value beside the trivial one; one of ``several`` is named by its line."""
    line = f" of line {loss.place.line}" if several and loss.place is not None else ""
    text = f"{format_number(loss.initial.value or 0.0)} ({loss.function}{line})"
    if loss.uninformed.value is not None:
        text += f"; the best constant prediction has {format_number(loss.uninformed.value)}"
    return text


def course(convergence: Convergence) -> str:
    """Where the loss goes, at which rate; empty when that is not known."""
    text = ""
    if convergence.first is not None and convergence.last is not None:
        text = f" from {format_number(convergence.first)} to {format_number(convergence.last)}"
        if convergence.steps:
            text += f" in {convergence.steps} steps"
    rate = convergence.rate
    if rate is not None and rate.value is not None:
        if convergence.rate_class == "linear":
            text += f", linear rate ×{rate.value:.4g} a step"
        elif convergence.rate_class == "sublinear":
            text += f", sublinear rate: falls like step^{-abs(rate.value):.2g}"
    if convergence.note:
        text += f" ({one_line(convergence.note)})"
    return text


def standing_text(convergence: Convergence) -> str:
    """Where the loss stands still, and how far above its lowest this rate keeps it."""
    parts = []
    if convergence.standing not in ("", "moving"):
        parts.append(f"the loss is {convergence.standing}")
    floor = convergence.noise_floor
    if floor is not None and floor.value is not None:
        parts.append(
            f"the gradient noise keeps it at most {format_number(floor.value)} above the lowest it"
            " could reach at this constant rate"
        )
    return "; ".join(parts)


_COURSES = {
    "constant": "stays constant, which leaves a ball of noise around the minimum",
    "geometric": "shrinks by a constant factor: all steps to come have a finite length",
    "ends": "ends at zero",
}


def schedule_text(schedule: ScheduleAhead) -> str:
    """What the rates of a schedule mean for convergence; empty when that is not known."""
    text = _COURSES.get(schedule.course, "")
    if schedule.course == "power":
        text = "falls like a power of the step"
        if schedule.robbins_monro is not None:
            holds = "as" if schedule.robbins_monro else "though not as"
            text += f", {holds} almost sure convergence wants it (Robbins and Monro)"
    return f"{one_line(schedule.cls)} {text}" if text else ""


def gradient_flow_text(flow: GradientFlow) -> str:
    """How the gradient grows or shrinks on its way to the input."""
    factor = math.exp(flow.slope.value or 0.0)
    text = f"×{format_number(factor)} per layer toward the input"
    if flow.end_to_end.value is not None:
        text += f", ×{format_number(flow.end_to_end.value)} end to end"
        if flow.layers:
            text += f" over {count(len(flow.layers), 'layer')}"
    return text + (f" ({flow.model})" if flow.model else "")


def _curvature(curvature: Curvature, course: Convergence | None, several: bool) -> Iterator[Line]:
    """Limit by limit; with ``several`` optimizers each is named by the line that makes it."""
    converging = course is not None and course.kind == "converging"
    at = _PHASE.get(curvature.phase, curvature.phase)
    if not is_trusted(curvature):
        off = format_number(100 * (curvature.consistency or 0.0))
        text = (
            f"not known {at}: second derivatives and differences of the loss are {off} % apart"
            " (a custom Function, a straight-through estimator or a detached target)"
        )
        yield _entry("curvature", text)
        return
    eigenvalue = f"largest Hessian eigenvalue {_with_interval(curvature.largest)}"
    limits = [limit for limit in curvature.limits if limit.limit.value is not None]
    if not limits:
        yield _entry("curvature", f"{eigenvalue} {at}")
    for limit in limits:
        optimizer = limit.cls.rpartition(".")[2]
        if several and limit.place is not None:
            optimizer += f" of line {limit.place.line}"
        text = f"{optimizer} is stable up to lr {format_number(limit.limit.value or 0.0)} {at}"
        if limit.learning_rate is not None:
            text += f"; in use: {format_number(limit.learning_rate)}"
        headroom = limit.headroom.value
        if headroom:
            text += (
                f", {format_number(headroom)} times below"
                if headroom >= 1
                else f", {format_number(1 / headroom)} times above"
            )
            if headroom < 1 and converging:
                text += " (at the edge of stability, and converging)"
        yield _entry("learning rate", text, rest=f" ({eigenvalue})")


def _spectrum_text(curvature: Curvature) -> str:
    values = [value for value, _ in curvature.density]
    return (
        f"Hessian eigenvalues from {format_number(min(values))} to {format_number(max(values))}"
        f" {_PHASE.get(curvature.phase, curvature.phase)} (logarithm of their share)"
    )


def forecast_text(made: QuadraticForecast, phase: str) -> str:
    """Up to where curvature foretells the loss of plain gradient steps, in one line."""
    if made.valid_up_to is None:
        last = made.checks[-1]
        return (
            f"curvature at the {phase} does not foretell the loss: {count(last.steps, 'step')} at"
            f" {format_number(last.rate)} should lead to {format_number(last.predicted)}, and led"
            f" to {format_number(last.measured)}"
        )
    held = next(c for c in reversed(made.checks) if c.rate == made.valid_up_to)
    return (
        f"curvature at the {phase} foretells the loss up to lr {format_number(held.rate)}:"
        f" {count(held.steps, 'step')} lead from {format_number(made.loss)} to"
        f" {format_number(held.predicted)}, and really to {format_number(held.measured)}"
    )


def _with_interval(measurement: Measurement) -> str:
    """``12.3 ± 0.1``; a tilde when the iteration stopped at its budget."""
    value = measurement.value or 0.0
    text = ("" if measurement.converged else "~") + format_number(value)
    if measurement.ci is not None:
        spread = max(abs(measurement.ci[1] - value), abs(value - measurement.ci[0]))
        text += f" ± {spread:.1g}"
    return text
