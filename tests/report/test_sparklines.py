"""Series, depths and spectra as bars, and what stands for them where there are no such letters."""

from __future__ import annotations

import io

import pytest

from convlint.gpu_probes.observations import (
    Convergence,
    Curvature,
    Device,
    GradientFlow,
    LayerFlow,
    Measurement,
    Observations,
    Series,
    Skipped,
)
from convlint.report.measured import measured_summary
from convlint.report.sparklines import by_depth, sparkline, spectrum
from convlint.report.text import wrapped, write_lines

NOTHING = Measurement(None)


def flow_of(*sizes: float | None) -> GradientFlow:
    layers = tuple(
        LayerFlow(f"layer{k}", "Linear", k, 1.0, size, 1.0, 1.0) for k, size in enumerate(sizes)
    )
    return GradientFlow("", layers[::-1], NOTHING, NOTHING)


def observations(**changes: object) -> Observations:
    options: dict[str, object] = {
        "script": "a.py",
        "arguments": (),
        "device": Device("cpu", "cpu", "2.13.0", "3.11", "torch"),
        "stopped": "steps",
        "held": 1,
        "steps": 100,
        "seconds": 2.0,
        "convergence": Convergence("converging", "", None, 0.1, 2.0, 0.1, steps=100),
        "series": Series(loss=tuple(2.0 * 0.97**k for k in range(100))),
        "gradient_flow": (flow_of(1e-6, 1e-4, 1e-2, 1.0),),
        "curvature": (
            Curvature(
                "end", "", 10, NOTHING, NOTHING, None, 1.0, None, 20,
                density=((-1.0, 0.01), (0.0, 0.9), (9.0, 0.001)),
            ),
        ),
        "skipped": (
            Skipped("overfit one batch", "no time"),
            Skipped("learning-rate range", "no time"),
        ),
    }  # fmt: skip
    return Observations(**{**options, **changes})  # type: ignore[arg-type]


def test_a_sparkline_falls_with_its_series():
    assert sparkline([8.0, 6.0, None, 2.0, 1.0]) == "█▆ ▂▁"
    assert sparkline([1.0, 1.0]) == "▁▁"
    assert len(sparkline(list(range(1000)))) <= 40
    assert sparkline([]) == sparkline([None, None]) == ""


def test_gradient_flow_is_drawn_from_the_input_on_by_its_logarithm():
    assert by_depth(flow_of(1e-6, 1e-4, 1e-2, 1.0)) == "▁▃▆█"
    assert by_depth(flow_of(1.0, None, 0.0, 1e-3)) == "█  ▁"
    assert by_depth(flow_of(1.0, 2.0)) == ""


def test_spectrum_has_a_bar_where_there_are_eigenvalues():
    assert spectrum(((0.0, 0.9), (5.0, 0.01), (10.0, 0.0001)), width=11) == "█    ▅    ▁"
    assert spectrum(((1.0, 0.5), (1.0, 0.3), (1.0, 0.2))) == ""


def test_measured_quantities_have_their_bars_beside_them():
    lines = ["".join(text for text, _ in line) for line in measured_summary(observations())]
    assert lines[0].startswith("Measured on cpu in 2.0 s: 1 batch held at")
    (loss,) = (line for line in lines if line.startswith("  loss  "))
    assert loss.startswith("  loss           █")
    assert " converging from 2 to 0.1" in loss
    assert "  gradient flow  ▁▃▆█ layer by layer, the input's side first" in lines
    (eigenvalues,) = (line for line in lines if line.startswith("  spectrum  "))
    assert eigenvalues.endswith(
        "Hessian eigenvalues from -1 to 9 at the end (logarithm of their share)"
    )


def test_reason_that_several_measurements_share_is_told_once():
    lines = ["".join(text for text, _ in line) for line in measured_summary(observations())]
    told = [line for line in lines if "no time" in line]
    assert told == ["  not measured   overfit one batch, learning-rate range: no time"]


@pytest.mark.parametrize("width", [80, 120])
def test_rows_fit_a_terminal(width):
    for line in measured_summary(observations()):
        for row in wrapped(line, width):
            assert sum(len(text) for text, _ in row) <= width


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_stream_without_bars_gets_ascii(encoding, monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    data = io.BytesIO()
    stream = io.TextIOWrapper(data, encoding=encoding)
    write_lines(measured_summary(observations()), stream)
    stream.flush()
    text = data.getvalue().decode("ascii")
    assert "  gradient flow  _-*# layer by layer" in text
    assert "  loss           #" in text
