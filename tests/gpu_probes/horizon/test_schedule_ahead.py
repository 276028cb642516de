"""Schedules stepped on a copy agree with the schedule's closed form and touch nothing."""

import copy
import math

import pytest
import torch
from torch.optim import lr_scheduler

from convlint.gpu_probes.horizon.schedule_ahead import (
    SAMPLES,
    detached_copy,
    learning_rates_ahead,
)


def optimizer(rate=0.1):
    return torch.optim.SGD([torch.zeros(3, requires_grad=True)], lr=rate, momentum=0.9)


def test_exponential_schedule_follows_its_closed_form():
    scheduler = lr_scheduler.ExponentialLR(optimizer(), gamma=0.9)
    calls, rates = learning_rates_ahead(detached_copy(scheduler), 50)
    assert calls == 50
    assert rates == pytest.approx([0.1 * 0.9**k for k in range(51)], rel=1e-12)


def test_long_schedules_are_sampled_evenly_with_both_ends():
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer(), T_max=10_000)
    calls, rates = learning_rates_ahead(detached_copy(scheduler), 10_000)
    assert (calls, len(rates)) == (10_000, SAMPLES)
    expected = [
        0.05 * (1 + math.cos(math.pi * round(i * 10_000 / (SAMPLES - 1)) / 10_000))
        for i in range(SAMPLES)
    ]
    # The recursion of CosineAnnealingLR loses a few digits against its closed form.
    assert rates == pytest.approx(expected, abs=1e-9)


def test_one_cycle_ends_where_it_refuses_to_go_on():
    scheduler = lr_scheduler.OneCycleLR(optimizer(), max_lr=0.1, total_steps=20)
    calls, rates = learning_rates_ahead(detached_copy(scheduler), 1000)
    assert calls == 20
    assert rates[0] == pytest.approx(0.1 / 25)
    assert max(rates) == pytest.approx(0.1)
    # The last of the 20 steps is at call 19: the constructor made the first.
    assert rates[19] == pytest.approx(0.1 / 25 / 1e4)


def test_chained_warm_up_and_decay():
    base = optimizer(1.0)
    scheduler = lr_scheduler.SequentialLR(
        base,
        [
            lr_scheduler.LinearLR(base, start_factor=0.1, total_iters=10),
            lr_scheduler.ExponentialLR(base, gamma=0.5),
        ],
        milestones=[10],
    )
    _, rates = learning_rates_ahead(detached_copy(scheduler), 13)
    assert rates[0] == pytest.approx(0.1)
    assert rates[10:] == pytest.approx([1.0, 0.5, 0.25, 0.125])


def test_the_scripts_scheduler_and_optimizer_stay_as_they_are():
    base = optimizer()
    scheduler = lr_scheduler.StepLR(base, step_size=1, gamma=0.1)
    before = copy.deepcopy(scheduler.state_dict())
    learning_rates_ahead(detached_copy(scheduler), 5)
    assert scheduler.state_dict() == before
    assert base.param_groups[0]["lr"] == 0.1
    assert scheduler.optimizer is base


def test_a_schedule_that_is_a_method_does_not_copy_its_owner():
    class Trainer:
        def __init__(self):
            self.calls = 0
            self.scheduler = lr_scheduler.LambdaLR(optimizer(), self.factor)

        def factor(self, step):
            return 1.0 / (1 + step)

        def __deepcopy__(self, memo):
            raise AssertionError("the trainer was copied")

    _, rates = learning_rates_ahead(detached_copy(Trainer().scheduler), 3)
    assert rates == pytest.approx([0.1, 0.05, 0.1 / 3, 0.025])
