"""The range test against quadratics whose largest stable rate is known."""

from __future__ import annotations

import itertools
import math
import time

import pytest
import torch
from torch import nn

from convlint.gpu_probes.horizon.learning_rate_range import learning_rate_range
from convlint.gpu_probes.observations import LearningRateRange
from convlint.gpu_probes.tape import TapeRecorder
from convlint.gpu_probes.tape.trajectory import RecordedStep, Start
from convlint.report.measured import rate_range


class Quadratic(nn.Module):
    """½ Σ λ_i θ_i², started at ones."""

    def __init__(self, curvatures: list[float]) -> None:
        super().__init__()
        self.curvatures = torch.tensor(curvatures)
        self.theta = nn.Parameter(torch.ones(len(curvatures)))

    def forward(self) -> torch.Tensor:
        return 0.5 * (self.curvatures * self.theta.square()).sum()


def ranged(curvatures: list[float], in_use: float, deadline: float = math.inf) -> LearningRateRange:
    model = Quadratic(curvatures)
    optimizer = torch.optim.SGD(model.parameters(), lr=in_use)
    steps = []
    for _ in range(4):
        recorder = TapeRecorder()
        with recorder:
            loss = model()
        steps.append(RecordedStep((recorder.finish(loss),), ({"lr": in_use},)))
    result = learning_rate_range(
        Start(optimizer), steps[:2], steps[2:], in_use=in_use, deadline=deadline
    )
    assert result is not None
    return result


def test_one_step_is_exact_on_a_quadratic():
    result = ranged([4.0, 1.0, 0.5], in_use=0.1)
    for rate, loss in zip(result.rates, result.one_step, strict=True):
        expected = 0.5 * sum(c * (1 - rate * c) ** 2 for c in (4.0, 1.0, 0.5))
        # A rate of 100 squares to 1e5; float32 carries seven digits of it.
        assert loss == pytest.approx(expected, rel=1e-5)


def test_both_tests_get_time_and_no_best_step_is_told_of_a_part_of_the_rates(monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr(time, "monotonic", lambda: float(next(ticks)))
    result = ranged([4.0, 1.0, 0.5], in_use=0.1, deadline=60.0)
    assert 0 < len(result.one_step) < len(result.rates)
    assert 0 < len(result.sweep) < len(result.rates)
    assert result.best is None
    assert "single step" not in rate_range(result)


def test_the_best_single_step_is_the_exact_line_search():
    curvatures = [4.0, 1.0, 0.5]
    squares = sum(c**2 for c in curvatures)
    exact = squares / sum(c**3 for c in curvatures)
    # Sixty rates over six decades lie a factor of 1.26 apart.
    assert ranged(curvatures, in_use=0.1).best == pytest.approx(exact, rel=0.26)


@pytest.mark.parametrize("largest", [1.0, 10.0, 100.0])
def test_divergence_begins_near_two_over_the_largest_curvature(largest):
    result = ranged([largest, 0.3 * largest], in_use=1.0 / largest)
    assert result.diverges is not None
    # Rates lie a factor of 1.26 apart; 2 gᵀg / gᵀHg itself is 1.06 times the bound here.
    assert 1.0 <= result.diverges / (2.0 / largest) <= 1.4


def test_a_loss_that_nothing_lowers_has_no_best_rate():
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    recorder = TapeRecorder()
    with recorder:
        loss = model(torch.ones(1, 1)).square().sum()
    step = RecordedStep((recorder.finish(loss),), ({"lr": 0.1},))
    result = learning_rate_range(
        Start(torch.optim.SGD(model.parameters(), lr=0.1)),
        [step],
        [step],
        in_use=0.1,
        deadline=math.inf,
    )
    assert result is not None
    assert (result.best, result.steepest, result.diverges) == (None, None, None)
