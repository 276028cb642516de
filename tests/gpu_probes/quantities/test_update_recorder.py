"""Update-to-weight ratios against what the optimizer's formula says (PROBES.md M5)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from convlint.gpu_probes.quantities.updates import SMALL, UpdateRecorder

if TYPE_CHECKING:
    from convlint.gpu_probes.observations import Place, UpdateRatio


def anonymous(tensor: torch.Tensor) -> tuple[str, Place | None]:
    return f"{tuple(tensor.shape)}", None


def train(
    model: nn.Module, optimizer: torch.optim.Optimizer, steps: int
) -> tuple[UpdateRatio, ...]:
    recorder = UpdateRecorder(anonymous)
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(32, 300, generator=generator)).square().mean().backward()
        recorder.before_step(optimizer, 4)
        optimizer.step()
        recorder.after_step(optimizer)
    return recorder.results()


def test_the_first_adam_step_is_the_learning_rate_over_the_weight_scale() -> None:
    torch.manual_seed(0)
    model = nn.Linear(300, 64, bias=False)
    (result,) = train(model, torch.optim.Adam(model.parameters(), lr=1e-3), 1)
    # U(-1/sqrt(n), 1/sqrt(n)) has rms 1/sqrt(3 n): lr sqrt(3 n) = 0.03.
    assert result.ratio.value == pytest.approx(1e-3 * math.sqrt(3 * 300), rel=0.02)
    assert result.ratio.n == 1
    assert result.optimizer == 4


def test_sgd_ratio_is_the_learning_rate_times_the_gradient_over_the_weight() -> None:
    weight = nn.Parameter(torch.tensor([3.0, 4.0]))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    recorder = UpdateRecorder(anonymous)
    weight.grad = torch.tensor([0.0, 2.0])
    recorder.before_step(optimizer, 0)
    optimizer.step()
    recorder.after_step(optimizer)
    (result,) = recorder.results()
    assert result.ratio.value == pytest.approx(0.2 / 5, rel=1e-5)


def scripted(ratios: list[float]) -> UpdateRatio:
    """One weight of norm one that moves by the given amounts and is put back."""
    weight = nn.Parameter(torch.ones(1, dtype=torch.float64))
    weight.grad = torch.ones(1, dtype=torch.float64)
    optimizer = torch.optim.SGD([weight], lr=1.0)
    recorder = UpdateRecorder(anonymous)
    for ratio in ratios:
        weight.data.fill_(1.0)
        recorder.before_step(optimizer, 0)
        weight.data.add_(ratio)
        recorder.after_step(optimizer)
    (result,) = recorder.results()
    return result


def test_the_median_ignores_a_wild_step_and_largest_asks_for_five() -> None:
    result = scripted([0.1, 0.1, 9.0, 0.3, 0.4, 0.5, 0.3, 0.6, 0.1])
    assert result.ratio.value == pytest.approx(0.3)
    assert result.largest == pytest.approx(0.3)


def test_fewer_than_five_steps_sustain_nothing() -> None:
    assert scripted([0.5, 0.5, 0.5, 0.5]).largest is None


def test_the_interval_of_the_median_is_between_order_statistics() -> None:
    result = scripted([0.01 * step for step in range(1, 101)])
    assert result.ratio.value == pytest.approx(0.505)
    assert result.ratio.ci is not None
    assert result.ratio.ci[0] == pytest.approx(0.41)
    assert result.ratio.ci[1] == pytest.approx(0.61)


def test_parameters_that_start_at_zero_are_flagged_and_have_no_ratio() -> None:
    model = nn.Linear(300, 4)
    nn.init.zeros_(model.bias)
    weight, bias = train(model, torch.optim.SGD(model.parameters(), lr=0.1), 6)
    assert not weight.zero_initialised
    assert bias.zero_initialised
    assert bias.ratio.value is None
    assert bias.largest is None


def test_parameters_without_a_gradient_are_not_stepped() -> None:
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([used, unused], lr=0.1)
    recorder = UpdateRecorder(anonymous)
    used.grad = torch.ones(2)
    recorder.before_step(optimizer, 0)
    optimizer.step()
    recorder.after_step(optimizer)
    assert [result.shape for result in recorder.results()] == [(2,)]


def test_a_parameter_that_joins_later_has_its_own_count() -> None:
    first, second = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([first, second], lr=0.1)
    recorder = UpdateRecorder(anonymous)
    for step in range(3):
        first.grad = torch.ones(2)
        second.grad = torch.ones(3) if step == 2 else None
        recorder.before_step(optimizer, 0)
        optimizer.step()
        recorder.after_step(optimizer)
    assert [result.ratio.n for result in recorder.results()] == [3, 1]


def test_training_is_bit_identical_with_the_recorder() -> None:
    def final(watched: bool) -> torch.Tensor:
        torch.manual_seed(0)
        model = nn.Linear(300, 4)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        if watched:
            train(model, optimizer, 4)
        else:
            generator = torch.Generator().manual_seed(1)
            for _ in range(4):
                optimizer.zero_grad()
                model(torch.randn(32, 300, generator=generator)).square().mean().backward()
                optimizer.step()
        return model.weight.detach()

    assert torch.equal(final(watched=True), final(watched=False))


def stepped(recorder: UpdateRecorder, elements: int, rates: list[float]) -> None:
    """Steps of gradient descent whose change is ``rate`` times the weight's norm each."""
    weight = nn.Parameter(torch.ones(elements))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    for rate in rates:
        weight.grad = rate * weight.detach()
        recorder.before_step(optimizer, 0)
        optimizer.step()
        recorder.after_step(optimizer)


def test_of_a_large_tensor_every_other_five_steps_are_measured() -> None:
    recorder = UpdateRecorder(anonymous)
    stepped(recorder, SMALL + 1, [1e-3] * 32)
    (result,) = recorder.results()
    # The first 15, 20 to 24 and 30 to 31.
    assert result.ratio.n == 22
    assert result.ratio.value == pytest.approx(1e-3, rel=1e-2)
    assert result.largest == pytest.approx(1e-3, rel=1e-2)


def test_of_a_small_tensor_every_step_is_measured() -> None:
    recorder = UpdateRecorder(anonymous)
    stepped(recorder, SMALL, [1e-3] * 32)
    (result,) = recorder.results()
    assert result.ratio.n == 32


def test_five_steps_on_end_do_not_reach_over_steps_left_out() -> None:
    recorder = UpdateRecorder(anonymous)
    # Steps 15 to 19 are left out: four wild ones before and four after are not eight on end.
    stepped(recorder, SMALL + 1, [1e-3] * 11 + [0.1] * 13 + [1e-3] * 6)
    (result,) = recorder.results()
    assert result.largest is not None
    assert result.largest < 0.01


def test_large_steps_are_compared_with_the_weight_they_change() -> None:
    recorder = UpdateRecorder(anonymous)
    stepped(recorder, SMALL + 1, [0.5] * 10)
    (result,) = recorder.results()
    assert result.ratio.value == pytest.approx(0.5, rel=1e-5)
