"""Contour lines against surfaces whose lines are known, and what the plane's plot says."""

from __future__ import annotations

import math

import pytest

from convlint.gpu_probes.observations import LossSurface
from convlint.report.charts import Axis
from convlint.report.contours import contour, contour_map
from convlint.report.curvature_plots import surface_reading

TICKS = [-1.0 + 0.1 * k for k in range(21)]


def surface(function):
    return [[function(x, y) for x in TICKS] for y in TICKS]


def test_the_lines_of_a_bowl_are_circles():
    edges = list(contour(TICKS, TICKS, surface(lambda x, y: x * x + y * y), 0.49))
    # Linear interpolation of a square between points 0.1 apart errs by 0.1² / 8 at most.
    for edge in edges:
        for x, y in edge:
            assert math.hypot(x, y) == pytest.approx(0.7, abs=3e-3)
    length = sum(math.dist(a, b) for a, b in edges)
    assert length == pytest.approx(2.0 * math.pi * 0.7, rel=0.01)


def test_the_lines_of_a_saddle_do_not_cross():
    rows = [[1.0, 0.0], [0.0, 1.0]]
    low = list(contour([0.0, 1.0], [0.0, 1.0], rows, 0.4))
    high = list(contour([0.0, 1.0], [0.0, 1.0], rows, 0.6))
    # Below the middle value the high corners are joined and the low ones cut off, above it the
    # other way round. Cut off is a corner by a piece at 45 degrees, 0.4 from it along both edges.
    assert sorted(a[0] - a[1] for a, _ in low) == pytest.approx([-0.6, 0.6])
    assert sorted(b[0] - b[1] for _, b in low) == pytest.approx([-0.6, 0.6])
    assert sorted(a[0] + a[1] for a, _ in high) == pytest.approx([0.4, 1.6])
    assert sorted(b[0] + b[1] for _, b in high) == pytest.approx([0.4, 1.6])


def test_a_level_that_is_nowhere_has_no_line():
    assert not list(contour(TICKS, TICKS, surface(lambda x, y: x + y), 5.0))


def test_cells_with_a_missing_corner_have_no_line_and_missing_values_no_colour():
    rows = [[0.0, 1.0, 2.0], [0.0, None, 2.0], [0.0, 1.0, 2.0]]
    assert not list(contour([0.0, 1.0, 2.0], [0.0, 1.0, 2.0], rows, 0.5))
    drawing = contour_map(
        Axis("a"),
        Axis("b"),
        "loss",
        [0.0, 1.0, 2.0],
        [0.0, 1.0, 2.0],
        rows,
        here=(1.0, 1.0, "here"),
    )
    assert sum(shape.kind == "rect" for shape in drawing.shapes) == 8
    assert ("curve1 dots", "here") in drawing.legend


def test_the_reading_says_where_the_plane_is_lowest():
    rows = ((3.0, 2.5, 2.0), (2.6, 2.3, 1.9), (None, None, None))
    plane = LossSurface("gradient", "random", (-0.5, 0.0, 0.5), (-1.0, 0.0, 1.0), rows, 8.0)
    assert surface_reading(plane) == (
        "2.3 here; lowest 1.9 at 0.5 across and 0 up, from -0.5 to 0.5 either way; highest 3"
        " (all parameters together are 8 long)"
    )
