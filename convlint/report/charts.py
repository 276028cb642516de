"""Charts as plain data laid out for a small SVG: curves over an axis, bars per name, a heat map.

A chart is 440 units wide, so that its labels stay readable on a phone and two fit side by side on
a desk. Colours are classes that the style sheet gives a light and a dark value. Names come from the
user's program; the templates escape them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from convlint.report.scales import Scale, scale_for, tick_label
from convlint.report.text import columns

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH, HEIGHT = 440, 260
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 10, 46
"""Margins that hold the labels of the axes."""

NAME_WIDTH = 132
ROWS_TOP = 26
"""Room above the rows for what they are."""
NAME_LETTERS = 18
"""Letters of the fixed width of row names that fit beside the rows."""
ROW = 18
MOST_ROWS = 40
MOST_COLUMNS = 60
HEAT_STEPS = 9
"""Colours of a heat map, classes ``heat0`` to ``heat8``."""

MOST_POINTS = 400
"""A curve of more points is thinned: the width has no room for them."""

Point = tuple[float, float | None]
Place = Callable[[float], float]


@dataclass(frozen=True)
class Axis:
    """What is counted along an axis, and in what unit; empty for a plain number."""

    title: str
    unit: str = ""
    log: bool = False

    @property
    def label(self) -> str:
        """``learning rate``, ``time [s]``."""
        label = f"{self.title} [{self.unit}]" if self.unit else self.title
        return f"{label} (log)" if self.log else label


@dataclass(frozen=True)
class Curve:
    """Points joined by a line, or ``dots``, or ``dashed`` for what is computed, not measured.

    A point without a value, or with one the axis cannot show, leaves a gap.
    """

    name: str
    points: Sequence[Point]
    style: str = "line"


@dataclass(frozen=True)
class Mark:
    """A line across the chart at one value of the x (``vertical``) or the y axis."""

    name: str
    value: float
    vertical: bool = True


@dataclass(frozen=True)
class Tick:
    """A label at a place, in units of the drawing."""

    at: float
    label: str


@dataclass(frozen=True)
class Shape:
    """A path, bar or cell of the drawing: its class, what it is for, and its geometry."""

    kind: str
    cls: str
    title: str
    path: str = ""
    x: float = 0.0
    y: float = 0.0
    width: float = 0.0
    height: float = 0.0


@dataclass(frozen=True)
class Drawing:
    """A chart with every place computed; ``legend`` pairs a class with what it stands for."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    x_label: str
    y_label: str
    x_ticks: list[Tick] = field(default_factory=list)
    y_ticks: list[Tick] = field(default_factory=list)
    row_label: str = ""
    rows: list[tuple[float, str, str]] = field(default_factory=list)
    """Names beside rows: place, short and full name."""
    shapes: list[Shape] = field(default_factory=list)
    legend: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Plot:
    """A heading, the chart, what it says in one line, and where one explains how to read it."""

    name: str
    title: str
    drawing: Drawing
    reading: str


def curves(x: Axis, y: Axis, drawn: Sequence[Curve], marks: Sequence[Mark] = ()) -> Drawing:
    """Curves over two axes that show all of their points and marks."""
    points = [p for curve in drawn for p in curve.points]
    across = scale_for(
        [*(p[0] for p in points), *(m.value for m in marks if m.vertical)], log=x.log, pad=0.02
    )
    up = scale_for(
        [*(p[1] for p in points), *(m.value for m in marks if not m.vertical)], log=y.log
    )
    drawing = frame(x.label, y.label)
    place_x, place_y = placing(drawing, across, up)
    drawing.x_ticks.extend(Tick(place_x(v), tick_label(v)) for v in across.ticks())
    drawing.y_ticks.extend(Tick(place_y(v), tick_label(v)) for v in up.ticks())
    for number, mark in enumerate(marks):
        scale = across if mark.vertical else up
        if not scale.shows(mark.value):
            continue
        at = (place_x if mark.vertical else place_y)(mark.value)
        path = (
            f"M{at:.1f} {drawing.top}V{drawing.bottom}"
            if mark.vertical
            else f"M{drawing.left} {at:.1f}H{drawing.right}"
        )
        name = f"{mark.name}: {tick_label(mark.value)}"
        drawing.shapes.append(Shape("path", f"mark mark{number}", name, path))
        drawing.legend.append((f"mark mark{number}", name))
    for number, curve in enumerate(drawn):
        shown = [
            (place_x(a), place_y(b)) if across.shows(a) and b is not None and up.shows(b) else None
            for a, b in _thinned(curve.points)
        ]
        cls = f"curve{number} {curve.style}"
        if curve.style == "dots":
            path = "".join(f"M{p[0]:.1f} {p[1]:.1f}h0" for p in shown if p is not None)
        else:
            path = _joined(shown)
        drawing.shapes.append(Shape("path", cls, curve.name, path))
        drawing.legend.append((cls, curve.name))
    return drawing


@dataclass(frozen=True)
class Bar:
    """One row: its name and a value per series, None where there is none."""

    name: str
    values: tuple[float | None, ...]


def bars(x: Axis, rows_of: str, series: Sequence[str], given: Sequence[Bar]) -> Drawing:
    """A row for each of the first ``MOST_ROWS`` names, a bar in it for each series.

    Bars begin at zero; on a logarithmic axis values are dots, since there is no zero.
    """
    shown = given[:MOST_ROWS]
    values = [value for bar in shown for value in bar.values]
    across = scale_for(values, log=True) if x.log else scale_for([0.0, 1.0, *values], pad=0.0)
    drawing = _rows_frame(x.label, rows_of, len(shown))
    place_x, _ = placing(drawing, across, Scale(0.0, 1.0))
    drawing.x_ticks.extend(Tick(place_x(v), tick_label(v)) for v in across.ticks())
    thickness = (ROW - 4) / max(len(series), 1)
    for row, bar in enumerate(shown):
        top = drawing.top + row * ROW + 2
        drawing.rows.append((top + ROW / 2 + 2, short_name(bar.name), bar.name))
        for number, value in enumerate(bar.values):
            if value is None or not across.shows(value):
                continue
            title = f"{bar.name}: {series[number]} {tick_label(value)}"
            y = top + number * thickness
            if x.log:
                path = f"M{place_x(value):.1f} {y + thickness / 2:.1f}h0"
                drawing.shapes.append(Shape("path", f"curve{number} dots", title, path))
                continue
            width = max(place_x(value) - drawing.left, 0.0)
            cls = f"bar{number}"
            drawing.shapes.append(
                Shape("rect", cls, title, x=drawing.left, y=y, width=width, height=thickness - 1)
            )
    kind = "curve{} dots" if x.log else "bar{}"
    drawing.legend.extend((kind.format(i), name) for i, name in enumerate(series))
    return drawing


def heat_map(
    x: Axis,
    rows_of: str,
    quantity: str,
    names: Sequence[str],
    places: Sequence[int],
    rows: Sequence[Sequence[float | None]],
) -> Drawing:
    """A cell per row and column, coloured by the logarithm of its value.

    ``rows`` has one series per name, entry k belonging to x = ``places[k]``, rising. Zeros and
    missing values keep the colour of the ground.
    """
    names, rows = names[:MOST_ROWS], rows[:MOST_ROWS]
    shown = range(0, len(places), max(1, math.ceil(len(places) / MOST_COLUMNS)))
    ends = [*(places[k] for k in shown[1:]), places[-1] + 1]
    positive = [row[k] for row in rows for k in shown]
    shade = scale_for(positive, log=True, pad=0.0)
    drawing = _rows_frame(x.label, rows_of, len(rows))
    across = Scale(float(places[0]), float(places[-1] + 1))
    place_x, _ = placing(drawing, across, Scale(0.0, 1.0))
    drawing.x_ticks.extend(Tick(place_x(v), tick_label(v)) for v in across.ticks())
    for row, (name, values) in enumerate(zip(names, rows, strict=True)):
        top = drawing.top + row * ROW
        drawing.rows.append((top + ROW / 2 + 4, short_name(name), name))
        for column, end in zip(shown, ends, strict=True):
            value = values[column]
            if value is None or not shade.shows(value):
                continue
            step = min(int(shade.share(value) * HEAT_STEPS), HEAT_STEPS - 1)
            left = place_x(places[column])
            title = f"{name}, {places[column]}: {tick_label(value)}"
            drawing.shapes.append(
                Shape("rect", f"heat{step}", title, "", left, top, place_x(end) - left, ROW - 1)
            )
    for step in (0, HEAT_STEPS // 2, HEAT_STEPS - 1):
        value = shade.low * (shade.high / shade.low) ** (step / (HEAT_STEPS - 1))
        drawing.legend.append((f"heat{step}", f"{quantity} {tick_label(float(f'{value:.2g}'))}"))
    return drawing


def short_name(name: str) -> str:
    """The end of a long name, which tells layers apart."""
    if columns(name) <= NAME_LETTERS:
        return name
    end = ""
    for letter in reversed(name):
        if columns(letter + end) >= NAME_LETTERS:
            break
        end = letter + end
    return "…" + end


def frame(x_label: str, y_label: str) -> Drawing:
    """An empty chart with room for the labels of two axes."""
    return Drawing(WIDTH, HEIGHT, LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM, x_label, y_label)


def _rows_frame(x_label: str, rows_of: str, rows: int) -> Drawing:
    bottom = ROWS_TOP + rows * ROW
    return Drawing(
        width=WIDTH,
        height=bottom + BOTTOM,
        left=NAME_WIDTH,
        right=WIDTH - RIGHT,
        top=ROWS_TOP,
        bottom=bottom,
        x_label=x_label,
        y_label="",
        row_label=rows_of,
    )


def placing(drawing: Drawing, across: Scale, up: Scale) -> tuple[Place, Place]:
    """Functions from values to units of the drawing, for either axis."""

    def place_x(value: float) -> float:
        return round(drawing.left + across.share(value) * (drawing.right - drawing.left), 1)

    def place_y(value: float) -> float:
        return round(drawing.bottom - up.share(value) * (drawing.bottom - drawing.top), 1)

    return place_x, place_y


def _thinned(points: Sequence[Point]) -> Sequence[Point]:
    stride = max(1, math.ceil(len(points) / MOST_POINTS))
    return points if stride == 1 else [*points[:-1:stride], points[-1]]


def _joined(places: Sequence[tuple[float, float] | None]) -> str:
    """A path through the places, begun anew after every gap; a lone place is a dot."""
    path, pen_up = "", True
    for index, place in enumerate(places):
        if place is None:
            pen_up = True
            continue
        path += f"{'M' if pen_up else 'L'}{place[0]:.1f} {place[1]:.1f}"
        alone = pen_up and (index + 1 == len(places) or places[index + 1] is None)
        path += "h0" if alone else ""
        pen_up = False
    return path
