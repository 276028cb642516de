"""What an output depends on: exact answers for models whose wiring is known."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from convlint.gpu_probes.observations import SampleDependence
from convlint.gpu_probes.quantities.wiring import sample_dependence
from convlint.gpu_probes.tape import TapeRecorder

SAMPLES = 6


class Scale(nn.Module):
    """Scales its input, then does what it was given."""

    def __init__(self, then: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.then = then

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.then(self.weight * x)


def dependence(
    then: Callable[[torch.Tensor], torch.Tensor],
    x: torch.Tensor | None = None,
    **known: object,
) -> SampleDependence:
    torch.manual_seed(0)
    given = torch.randn(SAMPLES, 4) if x is None else x
    model = Scale(then)
    recorder = TapeRecorder()
    with recorder:
        output = model(given)
        loss = output.square().sum()
    numbers = recorder.value_of(given), recorder.value_of(output)
    tape = recorder.finish(loss)
    assert None not in numbers
    options = {"batch_size": SAMPLES, "batch_statistics": "", "place": None, **known}
    found = sample_dependence(tape, "", {"x": numbers[0]}, (numbers[1],), **options)
    assert found is not None
    return found


def test_samples_that_go_their_own_way_do_not_leak() -> None:
    found = dependence(torch.tanh)
    assert found.leak is not None
    assert found.leak.value == 0.0
    assert found.dimension == 0
    assert found.input_response.value is not None
    assert found.input_response.value > 0.1


def test_a_mean_over_the_batch_leaks_by_what_the_formula_says() -> None:
    # y_i = x_i - mean(x): replacing x_0 by x_0 + d moves y_0 by d (1 - 1/n), the others by -d / n.
    found = dependence(lambda x: x - x.mean(dim=0))
    assert found.leak is not None
    assert found.leak.value == pytest.approx(1 / (SAMPLES - 1), rel=1e-5)


@pytest.mark.parametrize(
    "mixes",
    [
        lambda x: torch.softmax(x, dim=0),
        lambda x: x.reshape(4, SAMPLES).t().contiguous(),
        lambda x: x.cumsum(dim=0),
    ],
)
def test_operations_over_the_dimension_of_the_samples_leak(
    mixes: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    found = dependence(mixes)
    assert found.leak is not None
    assert found.leak.value is not None
    assert found.leak.value > 0.01


def test_samples_along_another_dimension_are_found_there() -> None:
    # Time first, then samples: the running sum is over time.
    found = dependence(lambda x: x.cumsum(dim=0), torch.randn(9, SAMPLES, 4))
    assert found.leak is not None
    assert (found.leak.value, found.dimension) == (0.0, 1)


def test_time_and_samples_of_the_same_number_are_tried_both() -> None:
    found = dependence(lambda x: x.cumsum(dim=0), torch.randn(SAMPLES, SAMPLES, 4))
    assert found.leak is not None
    assert (found.leak.value, found.dimension) == (0.0, 1)


def test_without_a_loader_nothing_is_said_of_samples() -> None:
    assert dependence(lambda x: x.cumsum(dim=0), batch_size=None).leak is None


def test_batch_statistics_are_by_design() -> None:
    assert dependence(lambda x: x - x.mean(0), batch_statistics="BatchNorm1d").leak is None


def test_an_output_without_its_input_does_not_respond() -> None:
    found = dependence(lambda x: x * 0 + torch.arange(4.0))
    assert found.input_response.value == 0.0
    assert found.input_response.n == SAMPLES


def test_equal_samples_tell_nothing_of_the_response() -> None:
    found = dependence(torch.tanh, torch.ones(SAMPLES, 4))
    assert found.input_response.value is None
    assert found.input_response.note == "all samples are alike"


@pytest.mark.parametrize("pooled", [torch.mean, lambda x: x.amax(dim=0)])
def test_what_is_pooled_over_the_samples_follows_them_in_any_order(
    pooled: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    found = dependence(pooled, batch_size=None)
    assert found.input_response.value is not None
    assert found.input_response.value > 0.1


def test_a_loss_beside_a_constant_output_does_not_stand_for_it() -> None:
    # The loss follows its targets; the scores do not follow their input.
    x, y = torch.randn(SAMPLES, 4), torch.randn(SAMPLES, 4)
    model = Scale(lambda x: x * 0 + torch.arange(4.0))
    recorder = TapeRecorder()
    with recorder:
        scores = model(x)
        loss = (scores - y).square().mean()
    numbers = [recorder.value_of(tensor) for tensor in (x, y, scores, loss)]
    given = {"x": numbers[0], "y": numbers[1]}
    options = {"batch_size": None, "batch_statistics": "", "place": None}
    found = sample_dependence(recorder.finish(loss), "", given, tuple(numbers[2:]), **options)
    assert found is not None
    assert found.input_response.value == 0.0
