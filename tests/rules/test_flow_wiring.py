"""Graphs that stay, outputs that ignore the input, samples that leak, and where NaN came from."""

from __future__ import annotations

from dataclasses import replace

import pytest
from measurements import dependence, found, healthy, parameter, place, severities

from convlint.findings import Severity
from convlint.gpu_probes.observations import GraphGrowth, NonFinite, NonFiniteOrigin
from convlint.rules.flow.growing_graph import GrowingGraph
from convlint.rules.flow.non_finite import NonFiniteValue
from convlint.rules.flow.output_ignores_input import OutputIgnoresInput
from convlint.rules.flow.samples_leak import SamplesLeak

WARNING, ERROR = Severity.WARNING, Severity.ERROR
LOG = NonFiniteOrigin("log", "head", "Head", False, "domain error", "run", 3, "float32", place(7))


def growth(alive: list[int], nodes: list[int]):
    return healthy(graph_growth=GraphGrowth(tuple(alive), tuple(nodes)))


def test_losses_kept_with_their_graphs_are_found() -> None:
    (finding,) = found(GrowingGraph(), growth(list(range(30)), [12] * 30))
    assert finding.severity is WARNING
    assert "the graphs of 29 losses in a row" in finding.message


def test_losses_kept_until_the_end_of_a_short_epoch_are_found() -> None:
    assert severities(GrowingGraph(), growth([*range(20), *range(10)], [12] * 30)) == [WARNING]


def test_a_graph_that_takes_in_the_steps_before_is_found() -> None:
    (finding,) = found(GrowingGraph(), growth([1] * 30, list(range(12, 192, 6))))
    assert "from 12 to 186 operations" in finding.message


@pytest.mark.parametrize(
    ("alive", "nodes"),
    [
        ([0, 1, 2, 3, 0, 1, 2, 3] * 4, [12] * 30),  # four micro-batches summed for a message
        ([1] * 30, [40, 90, 60, 45] * 8),  # sequences of different lengths
        ([0, 1, 2, 3], [12, 20, 28, 36]),  # too few steps to tell
        ([1] * 30, list(range(1000, 1030))),  # a layer more now and then
    ],
)
def test_graphs_that_come_and_go_are_healthy(alive: list[int], nodes: list[int]) -> None:
    assert severities(GrowingGraph(), growth(alive, nodes)) == []


def test_an_output_that_ignores_its_input_is_an_error() -> None:
    seen = healthy(sample_dependence=(dependence(response=0.0),))
    (finding,) = found(OutputIgnoresInput(), seen)
    assert finding.severity is ERROR
    assert finding.location.line == 8


def test_a_zero_initialised_head_before_any_step_ignores_nothing() -> None:
    head = parameter("head.weight", shape=(10, 128), weight_rms=0.0)
    seen = healthy(steps=0, sample_dependence=(dependence(response=0.0),), parameters=(head,))
    assert severities(OutputIgnoresInput(), seen) == []


@pytest.mark.parametrize("response", [None, 1e-4, 2.0])
def test_an_output_that_moves_or_was_not_asked_is_healthy(response: float | None) -> None:
    seen = healthy(sample_dependence=(dependence(response=response),))
    assert severities(OutputIgnoresInput(), seen) == []


@pytest.mark.parametrize(
    ("leak", "severity"), [(0.3, [WARNING]), (1e12, [WARNING]), (1e-6, []), (None, [])]
)
def test_a_leak_between_samples(leak: float | None, severity: list[Severity]) -> None:
    assert (
        severities(SamplesLeak(), healthy(sample_dependence=(dependence(leak=leak),))) == severity
    )


def nan_in_the_loss(origin: NonFiniteOrigin | None):
    event = NonFinite("loss", "loss", "run", 3, "nan", place(20))
    losses = (*healthy().series.loss[:3], None, None)
    series = replace(healthy().series, loss=losses)
    return healthy(non_finite=(event,), non_finite_origin=origin, series=series)


def test_the_operation_that_made_nan_is_named_where_it_was_called() -> None:
    (finding,) = found(NonFiniteValue(), nan_in_the_loss(LOG))
    assert finding.location.line == 7
    assert finding.message == (
        "NaN in the loss at step 3: made by log in head (Head), of numbers it is not defined for"
    )
    assert "clamp" in finding.help


def test_an_overflow_and_a_derivative_are_told_apart() -> None:
    (overflow,) = found(
        NonFiniteValue(), nan_in_the_loss(replace(LOG, operation="exp", cause="overflow"))
    )
    assert "whose result is too large for float32" in overflow.message
    (derivative,) = found(
        NonFiniteValue(),
        nan_in_the_loss(
            replace(LOG, operation="sqrt", cause="infinite derivative", backward=True, module="")
        ),
    )
    assert "the derivative of sqrt is not finite here" in derivative.message


def test_without_an_origin_the_loss_itself_is_named() -> None:
    (finding,) = found(NonFiniteValue(), nan_in_the_loss(None))
    assert finding.location.line == 20
    assert finding.message == "NaN in the loss at step 3"
