"""The plots of curvature: stability limits, spectrum, forecast, blocks, and the loss on a plane."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from convlint.report.charts import Axis, Bar, Curve, Mark, Plot, bars, curves
from convlint.report.contours import contour_map
from convlint.report.density import broadened, effective_dimension, share_between
from convlint.report.measured import forecast_text
from convlint.report.text import count, format_number, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.gpu_probes.observations import Curvature, LossSurface, Observations

EDGE_SHOWN = 4.0
"""A stability limit this many times off the largest eigenvalue would squeeze the spectrum flat."""

NEAR_ZERO = 0.01

REACH = 3.0
"""Foretold losses are drawn up to this many times the largest change that was measured."""

DIRECTIONS = {
    "gradient": "distance along −gradient",
    "top eigenvector": "distance along top eigenvector",
    "random": "distance along a random direction",
}


def curvature_plots(seen: Observations) -> Iterator[Plot]:
    """Every plot of curvature that can be drawn of ``seen``."""
    for draw in (_stability, _density, _forecast, _blocks, _surface):
        yield from draw(seen)


def _stability(seen: Observations) -> Iterator[Plot]:
    rows, readings = [], []
    for curvature in seen.curvature:
        for limit in curvature.limits:
            if limit.limit.value is None or limit.limit.value <= 0:
                continue
            name = f"{limit.cls.rpartition('.')[2]}, {curvature.phase}"
            rows.append(Bar(name, (limit.limit.value, limit.learning_rate)))
            headroom = limit.headroom.value
            if headroom:
                place = f"{format_number(headroom)} times below the limit"
                if headroom < 1:
                    place = f"{format_number(1 / headroom)} times above the limit"
                largest = curvature.largest.value
                peak = f" (largest eigenvalue {format_number(largest)})" if largest else ""
                readings.append(f"{place} at the {curvature.phase}{peak}")
    if not rows:
        return
    chart = bars(
        Axis("learning rate", log=True),
        "optimizer and moment",
        ("largest stable rate", "rate in use"),
        rows,
    )
    reading = "the rate in use is " + "; ".join(readings) if readings else "no rate in use is known"
    yield Plot("stability", "Curvature: the optimizer's stability limit", chart, reading)


def _density(seen: Observations) -> Iterator[Plot]:
    for curvature in seen.curvature:
        nodes = [(value, share) for value, share in curvature.density if share > 0]
        largest = curvature.largest.value
        if len(nodes) < 2 or largest is None:
            continue
        marks = []
        for limit in curvature.limits:
            headroom = limit.headroom.value
            # Only a plain step has its limit in the Hessian's own spectrum.
            if limit.preconditioned or not headroom or not 1 / EDGE_SHOWN < headroom < EDGE_SHOWN:
                continue
            marks.append(Mark(f"stable at the rate in use ({limit.cls}) up to", largest * headroom))
        shares = broadened(nodes)
        drawn = [Curve("density, broadened", shares), Curve("Lanczos nodes", nodes, "dots")]
        x, y = Axis("Hessian eigenvalue"), Axis("share of the eigenvalues", log=True)
        edge = NEAR_ZERO * abs(largest)
        small = share_between(curvature, -edge, edge)
        negative = share_between(curvature, -math.inf, -edge)
        reading = (
            f"largest {format_number(largest)}; {_percent(small)} of the eigenvalues lie within"
            f" {100 * NEAR_ZERO:.0f} % of it around zero, {_percent(negative)} below"
            f" ({_sample(curvature)}, {len(nodes)} nodes)"
        )
        if edge > 0.0:
            steep = format_number(effective_dimension(curvature, edge))
            reading += (
                f"; about {steep} of {curvature.parameters:,} directions are steeper than that"
            )
        mean = curvature.moments[0] if curvature.moments else None
        if mean is not None and mean.value is not None and mean.ci is not None:
            reading += (
                f"; the mean eigenvalue is {format_number(mean.value)} ±"
                f" {format_number(mean.ci[1] - mean.value)}"
            )
        title = f"Spectral density at the {curvature.phase}"
        yield Plot(f"density-{curvature.phase}", title, curves(x, y, drawn, marks), reading)


def _percent(share: tuple[float, float | None]) -> str:
    value, error = share
    if error is None:
        return f"{format_number(100 * value)} %"
    return f"{format_number(100 * value)} ± {format_number(100 * error)} %"


def _sample(curvature: Curvature) -> str:
    vectors = len(curvature.density_runs)
    return f"{vectors} random vectors, ± one standard error" if vectors > 1 else "one random vector"


def _forecast(seen: Observations) -> Iterator[Plot]:
    for curvature in seen.curvature:
        made = curvature.forecast
        if made is None:
            continue
        # What the model foretells beyond its range would flatten all that matters.
        measured = [made.loss, *(check.measured for check in made.checks)]
        room = REACH * (max(measured) - min(measured))
        foretold = [
            (rate, loss if loss is not None and abs(loss - made.loss) <= room else None)
            for rate, loss in zip(made.rates, made.predicted, strict=True)
        ]
        taken = [(c.rate, c.measured) for c in made.checks if c.steps == made.steps]
        marks = [Mark("loss before the steps", made.loss, vertical=False)]
        if made.valid_up_to is not None:
            marks.append(Mark("holds up to", made.valid_up_to))
        chart = curves(
            Axis("learning rate of plain gradient steps", log=True),
            Axis(f"loss after {count(made.steps, 'step')}"),
            [Curve("foretold by curvature", foretold), Curve("really taken", taken, "dots")],
            marks,
        )
        title = f"Forecast of plain steps at the {curvature.phase}"
        yield Plot(
            f"forecast-{curvature.phase}", title, chart, forecast_text(made, curvature.phase)
        )


def _blocks(seen: Observations) -> Iterator[Plot]:
    for curvature in seen.curvature:
        shown = [b for b in curvature.blocks if b.trace.value is not None and b.parameters]
        if len(shown) < 2:
            continue
        each = [(block, (block.trace.value or 0.0) / block.parameters) for block in shown]
        chart = bars(
            Axis("mean eigenvalue of the block", log=True),
            "parameter",
            ("mean eigenvalue",),
            [Bar(one_line(block.name), (value,)) for block, value in each],
        )
        steepest = max(each, key=lambda pair: pair[1])
        reading = (
            f"steepest in the mean: {one_line(steepest[0].name)}"
            f" ({format_number(steepest[1])}); blocks whose mean is not positive have no dot"
        )
        total = curvature.trace
        if total is not None and total.value is not None and total.ci is not None:
            reading += (
                f"; the trace is {format_number(total.value)} ±"
                f" {format_number(total.ci[1] - total.value)}"
            )
        title = f"Curvature by parameter at the {curvature.phase}"
        yield Plot(f"blocks-{curvature.phase}", title, chart, reading)


def _surface(seen: Observations) -> Iterator[Plot]:
    for curvature in seen.curvature:
        plane = curvature.surface
        if plane is None or not any(loss is not None for row in plane.losses for loss in row):
            continue
        chart = contour_map(
            Axis(DIRECTIONS.get(plane.x_axis, "distance")),
            Axis(DIRECTIONS.get(plane.y_axis, "distance")),
            "loss",
            plane.x,
            plane.y,
            plane.losses,
            here=(0.0, 0.0, "present parameters"),
        )
        title = f"Loss surface at the {curvature.phase}, on one batch"
        yield Plot(f"surface-{curvature.phase}", title, chart, surface_reading(plane))


def surface_reading(plane: LossSurface) -> str:
    """Where on the plane the loss is lowest, in one line."""
    known = [
        (loss, x, y)
        for y, row in zip(plane.y, plane.losses, strict=True)
        for x, loss in zip(plane.x, row, strict=True)
        if loss is not None
    ]
    lowest = min(known)
    here = next((loss for loss, x, y in known if x == 0.0 and y == 0.0), None)
    reading = (
        f"lowest {format_number(lowest[0])} at {format_number(lowest[1])} across and"
        f" {format_number(lowest[2])} up, from {format_number(min(plane.x))} to"
        f" {format_number(max(plane.x))} either way; highest {format_number(max(known)[0])}"
    )
    if here is not None:
        reading = f"{format_number(here)} here; {reading}"
    if plane.norm:
        reading += f" (all parameters together are {format_number(plane.norm)} long)"
    return reading
