"""The plots of a run: what each shows of the observations, and what a reader sees in it in one line.

A plot whose measurement was not made is left out; the report lists what was skipped.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from convlint.report.charts import (
    MOST_ROWS,
    Axis,
    Bar,
    Curve,
    Mark,
    Plot,
    bars,
    curves,
    heat_map,
)
from convlint.report.curvature_plots import curvature_plots
from convlint.report.forecast import forecast
from convlint.report.measured import (
    course,
    gradient_flow_text,
    one_batch,
    rate_range,
    schedule_text,
)
from convlint.report.text import count, format_number, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from convlint.gpu_probes.observations import LayerFlow, Observations, OverfitAttempt

WIDE_RANGE = 30.0
"""Positive values that differ by this factor are shown on a logarithmic axis."""

MOST_CURVES = 4

STEP = Axis("real optimizer step")


def plots(seen: Observations) -> Iterator[Plot]:
    """Every plot that can be drawn of ``seen``, the outcome first and then its causes."""
    for draw in (
        _loss,
        _gradient_norm,
        _flow_by_depth,
        _flow_by_step,
        _activations,
        _updates,
        curvature_plots,
        _rate_range,
        _one_batch,
        _schedules,
    ):
        yield from draw(seen)


def _loss(seen: Observations) -> Iterator[Plot]:
    losses = seen.series.loss
    if not any(loss is not None for loss in losses):
        return
    drawn = [Curve("loss", list(enumerate(losses)))]
    convergence = seen.convergence
    fitted = None if convergence is None else forecast(convergence, losses)
    if fitted is not None:
        drawn.append(Curve(fitted.name, fitted.fit, "fit"))
        drawn.append(Curve("forecast, if the rate holds", fitted.ahead, "dashed"))
    marks = []
    if seen.baseline is not None and seen.baseline.value is not None:
        marks.append(Mark("best constant prediction", seen.baseline.value, vertical=False))
    reading = "too few steps to say where it goes"
    if convergence is not None:
        reading = f"{convergence.kind}{course(convergence)}"
    axis = Axis("loss", log=_wide(losses))
    yield Plot("loss", "Loss", curves(STEP, axis, drawn, marks), reading)


def _gradient_norm(seen: Observations) -> Iterator[Plot]:
    norms = seen.series.gradient_norm
    finite = [norm for norm in norms if norm is not None]
    if not finite:
        return
    middle = sorted(finite)[len(finite) // 2]
    lost = len(norms) - len(finite)
    reading = (
        f"from {format_number(min(finite))} to {format_number(max(finite))}, median"
        f" {format_number(middle)} over {count(len(finite), 'step')}"
    )
    reading += f"; not finite or not seen in {count(lost, 'step')}" if lost else ""
    axis = Axis("norm of all gradients", log=_wide(norms))
    chart = curves(STEP, axis, [Curve("gradient norm", list(enumerate(norms)))])
    yield Plot("gradient-norm", "Gradient norm", chart, reading)


def _flow_by_depth(seen: Observations) -> Iterator[Plot]:
    for number, flow in enumerate(seen.gradient_flow):
        layers = flow.layers
        if len(layers) < 2:
            continue
        drawn = [
            Bar(one_line(layer.module), (layer.output_grad_rms, layer.output_rms))
            for layer in layers
        ]
        if not any(value for bar in drawn for value in bar.values):
            continue
        axis = Axis("root mean square at the initial parameters", log=True)
        chart = bars(axis, "layer, input first", ("gradient of the output", "output"), drawn)
        reading = gradient_flow_text(flow) if flow.slope.value is not None else _ends(layers)
        title = "Signal and gradient by depth"
        yield Plot(f"flow-{number}", title, chart, reading + _of(layers))


def _ends(layers: Sequence[LayerFlow]) -> str:
    """The gradient's way through layers that differ too much for one slope."""
    first, last = layers[0].output_grad_rms, layers[-1].output_grad_rms
    if not first or not last:
        return "layers too different for one slope, and no gradient at one of the ends"
    return (
        f"×{format_number(first / last)} from the last layer's output to the first's; the layers"
        " differ too much for one slope"
    )


def _flow_by_step(seen: Observations) -> Iterator[Plot]:
    history = seen.gradient_history
    if history is None or len(history.steps) < 2:
        return
    values = [v for row in history.rms for v in row if v is not None and v > 0]
    if not values:
        return
    chart = heat_map(
        STEP,
        "module, as the optimizer holds them",
        "gradient's root mean square",
        [one_line(name) for name in history.modules],
        history.steps,
        history.rms,
    )
    middles = {
        name: sorted(known)[len(known) // 2]
        for name, row in zip(history.modules, history.rms, strict=True)
        if (known := [v for v in row if v is not None])
    }
    low, high = min(middles, key=middles.__getitem__), max(middles, key=middles.__getitem__)
    reading = (
        f"in the median smallest in {one_line(low)} ({format_number(middles[low])}), largest in"
        f" {one_line(high)} ({format_number(middles[high])})"
    )
    title = "Gradient by module and step"
    yield Plot("flow-by-step", title, chart, reading + _of(history.modules))


def _activations(seen: Observations) -> Iterator[Plot]:
    shown = [a for a in seen.activations if None not in (a.dead_fraction, a.saturated_fraction)]
    if not shown:
        return
    chart = bars(
        Axis("share of the units, at the initial parameters"),
        "activation, input first",
        ("dead (zero on every sample)", "saturated (slope under 5 % of its largest)"),
        [
            Bar(f"{one_line(a.module)} ({a.kind})", (a.dead_fraction, a.saturated_fraction))
            for a in shown
        ],
    )
    worst = max(shown, key=lambda a: max(a.dead_fraction or 0.0, a.saturated_fraction or 0.0))
    reading = (
        f"worst: {one_line(worst.module)} ({worst.kind}), {100 * (worst.dead_fraction or 0):.3g} %"
        f" dead and {100 * (worst.saturated_fraction or 0):.3g} % saturated of"
        f" {count(worst.units, 'unit')}, over {count(worst.samples, 'sample')}"
    )
    yield Plot("activations", "Activation health", chart, reading + _of(shown))


def _updates(seen: Observations) -> Iterator[Plot]:
    shown = [u for u in seen.updates if u.ratio.value is not None and u.ratio.value > 0]
    if not shown:
        return
    ratios = sorted(u.ratio.value or 0.0 for u in shown)
    chart = bars(
        Axis("norm of the step / norm of the weight", log=True),
        "parameter",
        ("median over the steps", "largest kept up for 5 steps"),
        [Bar(one_line(u.name), (u.ratio.value, u.largest)) for u in shown],
    )
    reading = (
        f"a step changes a parameter by {format_number(100 * ratios[len(ratios) // 2])} % of its"
        f" size in the median, by {format_number(100 * ratios[0])} to"
        f" {format_number(100 * ratios[-1])} % at the ends"
    )
    yield Plot("updates", "Update-to-weight ratio", chart, reading + _of(shown))


def _rate_range(seen: Observations) -> Iterator[Plot]:
    tested = seen.learning_rate_range
    if tested is None:
        return
    top = max(tested.bound, tested.initial)
    drawn = [
        # What has left the bound would flatten all that matters.
        Curve(
            name,
            [
                (r, v if v is not None and v <= top else None)
                for r, v in _pairs(tested.rates, values)
            ],
        )
        for name, values in (
            ("held-out loss after one step", tested.one_step),
            ("loss while the rate rises", tested.sweep),
        )
    ]
    marks = [Mark("initial loss", tested.initial, vertical=False), Mark("in use", tested.in_use)]
    if tested.best is not None:
        marks.append(Mark("best single step", tested.best))
    if tested.steepest is not None:
        marks.append(Mark("learns fastest", tested.steepest))
    if tested.diverges is not None:
        marks.append(Mark("diverges", tested.diverges))
    chart = curves(Axis("learning rate", log=True), Axis("loss"), drawn, marks)
    yield Plot("rate-range", "Learning-rate range", chart, rate_range(tested))


def _one_batch(seen: Observations) -> Iterator[Plot]:
    tried = seen.overfit
    if tried is None or not tried.attempts:
        return
    courses = [(_attempt(a), a.curve) for a in tried.attempts if a.curve]
    if courses:
        drawn = [Curve(name, curve) for name, curve in courses[:MOST_CURVES]]
        losses = [v for _, curve in courses for _, v in curve]
        axis = Axis("loss of the one batch", log=_wide(losses))
        floor = (
            [Mark("smallest possible", tried.floor + 0.0, vertical=False)] if not axis.log else []
        )
        chart = curves(Axis("step on one batch"), axis, drawn, floor)
        yield Plot("one-batch", "Learning one batch by heart", chart, one_batch(tried))
        return
    rows = [
        Bar(
            _attempt(attempt),
            (max(0.0, attempt.excess) if math.isfinite(attempt.excess) else None,),
        )
        for attempt in tried.attempts
    ]
    chart = bars(
        Axis("share of the first excess loss left"),
        "optimizer and learning rate",
        ("left at the lowest loss; up to 0.05 counts as learnt",),
        rows,
    )
    yield Plot("one-batch", "Learning one batch by heart", chart, one_batch(tried))


def _attempt(tried: OverfitAttempt) -> str:
    rate = tried.learning_rate
    return tried.optimizer if rate is None else f"{tried.optimizer} {format_number(rate)}"


def _schedules(seen: Observations) -> Iterator[Plot]:
    rates = seen.series.learning_rate
    used = [rate for rate in rates if rate is not None]
    if used and min(used) != max(used):
        reading = f"from {format_number(used[0])} to {format_number(used[-1])} in the steps run"
        axis = Axis("learning rate", log=_wide(used))
        chart = curves(STEP, axis, [Curve("learning rate", list(enumerate(rates)))])
        yield Plot("rates", "Learning rate in the steps run", chart, reading)
    for number, schedule in enumerate(seen.schedules):
        ahead = schedule.learning_rates
        if len(ahead) < 2:
            continue
        spacing = schedule.calls / (len(ahead) - 1)
        points = [(k * spacing, rate) for k, rate in enumerate(ahead)]
        per = schedule.per if schedule.per != "unknown" else "call"
        planned = "planned" if schedule.planned else "assumed"
        reading = (
            f"{schedule.cls} goes from {format_number(ahead[0])} to {format_number(ahead[-1])} in"
            f" {count(schedule.calls, f'{planned} {per}')}"
        )
        meaning = schedule_text(schedule)
        reading += f"; {meaning}" if meaning else ""
        axis = Axis("learning rate", log=min(ahead) > 0 and _wide(ahead))
        chart = curves(Axis(f"{per} of the schedule"), axis, [Curve(schedule.cls, points)])
        yield Plot(f"schedule-{number}", "Learning-rate schedule, stepped ahead", chart, reading)


def _pairs(
    rates: Sequence[float], values: Sequence[float | None]
) -> list[tuple[float, float | None]]:
    return list(zip(rates, values, strict=False))


def _wide(values: Sequence[float | None]) -> bool:
    finite = [value for value in values if value is not None]
    return bool(finite) and min(finite) > 0 and max(finite) > WIDE_RANGE * min(finite)


def _of(rows: Sequence[object]) -> str:
    return f" (the first {MOST_ROWS} of {len(rows)} are shown)" if len(rows) > MOST_ROWS else ""
