"""A contour map: a quantity over a plane, as coloured ground and lines of equal value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convlint.report.charts import HEAT_STEPS, Axis, Drawing, Shape, Tick, frame, placing
from convlint.report.scales import Scale, tick_label

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Place = tuple[float, float]
Edge = tuple[Place, Place]


@dataclass(frozen=True)
class _Shade:
    """The share of the colours a value has: by the root, which spaces the lines of a bowl evenly
    and keeps a wall at the rim from flattening the floor."""

    low: float
    high: float

    def share(self, value: float) -> float:
        if self.high <= self.low:
            return 0.0
        return math.sqrt(max(value - self.low, 0.0) / (self.high - self.low))

    def value(self, share: float) -> float:
        return self.low + share**2 * (self.high - self.low)


def contour_map(
    x: Axis,
    y: Axis,
    quantity: str,
    xs: Sequence[float],
    ys: Sequence[float],
    rows: Sequence[Sequence[float | None]],
    *,
    here: tuple[float, float, str] | None = None,
) -> Drawing:
    """``rows[j][i]`` over ``(xs[i], ys[j])``, both rising; ``here`` is a named place to mark.

    The ground has a colour per value, lines lie where one colour meets the next (marching squares,
    linear between grid points). Missing values keep the colour of the page.
    """
    drawing = frame(x.label, y.label)
    half_x, half_y = (xs[1] - xs[0]) / 2.0, (ys[1] - ys[0]) / 2.0
    across = Scale(xs[0] - half_x, xs[-1] + half_x)
    up = Scale(ys[0] - half_y, ys[-1] + half_y)
    place_x, place_y = placing(drawing, across, up)
    drawing.x_ticks.extend(Tick(place_x(v), tick_label(v)) for v in across.ticks())
    drawing.y_ticks.extend(Tick(place_y(v), tick_label(v)) for v in up.ticks())
    known = [value for row in rows for value in row if value is not None]
    shade = _Shade(min(known), max(known))
    for j, row in enumerate(rows):
        top, bottom = place_y(ys[j] + half_y), place_y(ys[j] - half_y)
        for i, value in enumerate(row):
            if value is None:
                continue
            left, right = place_x(xs[i] - half_x), place_x(xs[i] + half_x)
            step = min(int(shade.share(value) * HEAT_STEPS), HEAT_STEPS - 1)
            title = f"{tick_label(xs[i])}, {tick_label(ys[j])}: {quantity} {tick_label(value)}"
            drawing.shapes.append(
                Shape("rect", f"heat{step}", title, "", left, top, right - left, bottom - top)
            )
    for step in range(1, HEAT_STEPS):
        level = shade.value(step / HEAT_STEPS)
        path = "".join(
            f"M{place_x(a[0]):.1f} {place_y(a[1]):.1f}L{place_x(b[0]):.1f} {place_y(b[1]):.1f}"
            for a, b in contour(xs, ys, rows, level)
        )
        if path:
            title = f"{quantity} {tick_label(float(f'{level:.3g}'))}"
            drawing.shapes.append(Shape("path", "contour", title, path))
    for step in (0, HEAT_STEPS // 2, HEAT_STEPS - 1):
        value = float(f"{shade.value(step / (HEAT_STEPS - 1)):.3g}")
        drawing.legend.append((f"heat{step}", f"{quantity} {tick_label(value)}"))
    if here is not None:
        path = f"M{place_x(here[0]):.1f} {place_y(here[1]):.1f}h0"
        drawing.shapes.append(Shape("path", "curve1 dots", here[2], path))
        drawing.legend.append(("curve1 dots", here[2]))
    return drawing


def contour(
    xs: Sequence[float], ys: Sequence[float], rows: Sequence[Sequence[float | None]], level: float
) -> Iterator[Edge]:
    """The pieces of the line on which the bilinear surface has the value ``level``.

    One or two straight pieces per cell; in a saddle the mean of the corners tells which of them
    belong together. Cells with a missing corner have none.
    """
    for j in range(len(ys) - 1):
        for i in range(len(xs) - 1):
            corners = (
                (xs[i], ys[j], rows[j][i]),
                (xs[i + 1], ys[j], rows[j][i + 1]),
                (xs[i + 1], ys[j + 1], rows[j + 1][i + 1]),
                (xs[i], ys[j + 1], rows[j + 1][i]),
            )
            values = [value for _, _, value in corners if value is not None]
            if len(values) < len(corners):
                continue
            crossings = []
            for k in range(4):
                (x0, y0, v0), (x1, y1, v1) = corners[k], corners[(k + 1) % 4]
                if v0 is None or v1 is None or (v0 < level) == (v1 < level):
                    continue
                share = (level - v0) / (v1 - v0)
                crossings.append((x0 + share * (x1 - x0), y0 + share * (y1 - y0)))
            if len(crossings) == 2:
                yield crossings[0], crossings[1]
            elif len(crossings) == 4:
                middle = sum(values) / 4.0
                # Crossing k lies on the edge that leaves corner k.
                joined = (middle < level) == (values[0] < level)
                first, second = ((0, 1), (2, 3)) if joined else ((3, 0), (1, 2))
                yield crossings[first[0]], crossings[first[1]]
                yield crossings[second[0]], crossings[second[1]]
