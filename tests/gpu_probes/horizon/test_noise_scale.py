"""Noise scale and best learning rate of recorded batches, against linear regression."""

from __future__ import annotations

import math
import time

import pytest
import torch
from torch import nn

from convlint.gpu_probes.horizon.noise_scale import Steps, gradient_noise
from convlint.gpu_probes.observations import GradientNoise
from convlint.gpu_probes.quantities.step_length import plain_rate
from convlint.gpu_probes.tape import Tape, TapeRecorder, TapeUnavailable
from convlint.gpu_probes.tape.trajectory import Start

DIMENSION, SIZE = 20, 8
TRUE = DIMENSION + 1 + DIMENSION * 0.25


def recorded(weight: torch.Tensor, batches: int, *, repeat: bool = False) -> list[Tape]:
    """½(xᵀδ - ε)² with x ~ N(0, I), ε ~ N(0, ¼), whose Hessian is the identity on average."""
    tapes = []
    for number in range(batches):
        generator = torch.Generator().manual_seed(0 if repeat else number)
        x = torch.randn(SIZE, DIMENSION, generator=generator)
        noise = 0.5 * torch.randn(SIZE, generator=generator)
        recorder = TapeRecorder()
        with recorder:
            loss = 0.5 * (x @ weight - noise).square().mean()
        tapes.append(recorder.finish(loss))
    return tapes


def measured(batches: int, *, repeat: bool = False, moved: bool = False) -> GradientNoise | None:
    weight = nn.Parameter(torch.zeros(DIMENSION))
    weight.data[0] = 1.0
    optimizer = torch.optim.SGD([weight], lr=0.1)
    start = Start(optimizer)
    tapes = recorded(weight, batches, repeat=repeat)
    if moved:
        weight.data.zero_()
    steps = Steps(0, "SGD", adaptive=False, rate=0.1, batch_size=SIZE, batches=2.0)
    return gradient_noise(start, tapes, steps, deadline=time.monotonic() + 60)


def test_the_scale_is_that_of_linear_regression() -> None:
    seen = measured(32)
    assert seen is not None
    assert not seen.at_least
    assert seen.scale.unit == "samples"
    assert seen.scale.ci is not None
    assert seen.scale.ci[0] < TRUE < seen.scale.ci[1]
    assert seen.scale.value == pytest.approx(TRUE, rel=0.3)
    assert (seen.batch_size, seen.step_size) == (SIZE, 2 * SIZE)


def test_curvature_gives_the_best_rate_for_the_batch() -> None:
    seen = measured(32)
    assert seen is not None
    # H = I: the best step without noise has rate 1, that of 16 samples 1 / (1 + 26 / 16).
    for found, true in (
        (seen.curvature_scale, TRUE),
        (seen.largest_rate, 1.0),
        (seen.best_rate, 1 / (1 + TRUE / (2 * SIZE))),
    ):
        assert found is not None
        assert found.ci is not None
        assert found.ci[0] < true < found.ci[1]


def test_the_parameters_are_those_of_the_start_wherever_the_script_went() -> None:
    here, there = measured(16), measured(16, moved=True)
    assert here is not None
    assert there is not None
    assert here.scale == there.scale


def test_eight_batches_give_a_lower_bound() -> None:
    seen = measured(8)
    assert seen is not None
    assert seen.at_least
    assert seen.scale.note == "at least"
    assert 0.0 < (seen.scale.value or math.inf) <= TRUE


def test_one_batch_over_and_over_has_no_noise_to_measure() -> None:
    with pytest.raises(TapeUnavailable, match="only 1 different batches"):
        measured(8, repeat=True)


@pytest.mark.parametrize(
    ("options", "rate"),
    [
        ({"lr": 0.1}, 0.1),
        ({"lr": 0.1, "momentum": 0.9}, 1.0),
        ({"lr": 0.1, "momentum": 0.9, "dampening": 0.5}, 0.5),
    ],
)
def test_momentum_moves_as_far_as_a_larger_rate(options: dict[str, float], rate: float) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], **options)
    assert plain_rate(optimizer) == pytest.approx(rate)


def test_adaptive_optimizers_have_no_plain_rate() -> None:
    assert plain_rate(torch.optim.Adam([nn.Parameter(torch.zeros(1))])) is None
