"""Schedules that end before the run does."""

from __future__ import annotations

from typing import Any

import pytest
from builders import branch, literal
from model_builders import ModelBuilder, numbers, only, slugs
from observed import observations

from convlint.gpu_probes.observations import ScheduleAhead
from convlint.program.facts import TrainingProgram, Value
from convlint.rules.schedule.exponential_too_fast import ExponentialTooFast
from convlint.rules.schedule.lr_schedule_collapses import LrScheduleCollapses

COLLAPSE, FAST = LrScheduleCollapses(), ExponentialTooFast()


def run(cls: str, epochs: int | None, per_batch: bool = False, **args: Value) -> TrainingProgram:
    """A run of ``epochs`` epochs with one scheduler, stepped once per epoch."""
    build = ModelBuilder()
    optimizer = build.optimizer(None, args={"lr": literal(0.1)})
    scheduler = build.scheduler(optimizer, f"torch.optim.lr_scheduler.{cls}", **args)
    step: Any = build.scheduler_step(scheduler)
    if per_batch:
        step = build.batches(build.loader(None), step)
    return build.program(build.epochs(epochs, step))


@pytest.mark.parametrize(
    ("cls", "epochs", "args"),
    [
        ("StepLR", 40, {"step_size": literal(2)}),
        ("ExponentialLR", 20, {"gamma": literal(0.3)}),
        ("MultiStepLR", 100, {"milestones": numbers(5, 10, 15, 20)}),
        ("PolynomialLR", 60, {"total_iters": literal(10)}),
        ("MultiStepLR", 100, {"milestones": numbers(60), "gamma": literal(1e-7)}),
    ],
)
def test_a_rate_that_dies_early_is_found(cls: str, epochs: int, args: dict[str, Value]) -> None:
    assert slugs(COLLAPSE, run(cls, epochs, **args)) == ["lr-schedule-collapses"]


@pytest.mark.parametrize(
    ("cls", "epochs", "args"),
    [
        ("MultiStepLR", 120, {"milestones": numbers(30, 60, 90)}),
        ("StepLR", 90, {"step_size": literal(30)}),
        ("ExponentialLR", 100, {"gamma": literal(0.95)}),
        ("CosineAnnealingLR", 50, {"T_max": literal(50)}),
        ("CosineAnnealingLR", 100, {"T_max": literal(50)}),
        ("CosineAnnealingWarmRestarts", 60, {"T_0": literal(10)}),
        ("PolynomialLR", 60, {"total_iters": literal(60), "power": literal(2.0)}),
        ("StepLR", 14, {"step_size": literal(1), "gamma": literal(0.7)}),
        ("StepLR", 3, {"step_size": literal(1), "gamma": literal(1e-4)}),
        ("ReduceLROnPlateau", 40, {"factor": literal(0.1)}),
        ("StepLR", 40, {"step_size": Value()}),
        ("LambdaLR", 40, {"lr_lambda": Value()}),
    ],
)
def test_healthy_and_unknown_schedules_are_fine(
    cls: str, epochs: int, args: dict[str, Value]
) -> None:
    assert slugs(COLLAPSE, run(cls, epochs, **args)) == []


def test_the_message_says_when_and_draws_the_course() -> None:
    finding = only(COLLAPSE, run("StepLR", 40, step_size=literal(2)))
    # 0.1^(t // 2) is below a thousandth from epoch 8 on; after three decays it is exactly 1e-3.
    assert "after epoch 8 of 40" in finding.message
    assert "█" in finding.message
    assert finding.evidence[0].value == pytest.approx(0.8)
    # Two epochs each at 1, 0.1, 0.01 ... sum to 2 / 0.9.
    assert finding.evidence[2].value == pytest.approx(2 / 0.9)


def test_without_the_number_of_epochs_the_collapse_is_not_judged() -> None:
    assert slugs(COLLAPSE, run("ExponentialLR", None, gamma=literal(0.3))) == []
    assert slugs(COLLAPSE, run("ExponentialLR", 40, per_batch=True, gamma=literal(0.3))) == []


def ahead(*rates: float, planned: bool = True) -> ScheduleAhead:
    return ScheduleAhead("StepLR", 0, len(rates) * 10, planned, "epoch", rates)


def test_a_scheduler_stepped_ahead_confirms_or_refutes() -> None:
    dead = observations(schedules=(ahead(1.0, 0.1, 1e-4, 1e-5, 1e-6, 1e-7),))
    alive = observations(schedules=(ahead(1.0, 0.8, 0.6, 0.4, 0.2, 0.1),))
    (finding,) = COLLAPSE.measured(dead)
    assert "after epoch 20 of 60" in finding.message
    assert list(COLLAPSE.measured(alive)) == []
    assert "0.4 of its peak half way" in (COLLAPSE.reading(alive) or "")


def test_a_guessed_number_of_calls_proves_nothing() -> None:
    seen = observations(schedules=(ahead(1.0, 0.1, 1e-4, 1e-5, 1e-6, 1e-7, planned=False),))
    assert list(COLLAPSE.measured(seen)) == []
    assert COLLAPSE.reading(seen) is None


@pytest.mark.parametrize(
    ("cls", "args"),
    [
        ("ExponentialLR", {"gamma": literal(0.3)}),
        ("StepLR", {"step_size": literal(1), "gamma": literal(0.1)}),
        ("StepLR", {"step_size": literal(2), "gamma": literal(0.4)}),
    ],
)
def test_a_fast_decay_over_an_unknown_run_is_found(cls: str, args: dict[str, Value]) -> None:
    assert slugs(FAST, run(cls, None, **args)) == ["exponential-too-fast"]


@pytest.mark.parametrize(
    ("cls", "epochs", "args"),
    [
        ("StepLR", None, {"step_size": literal(1), "gamma": literal(0.7)}),
        ("StepLR", None, {"step_size": literal(30), "gamma": literal(0.1)}),
        ("StepLR", None, {"step_size": Value(), "gamma": literal(0.1)}),
        ("ExponentialLR", None, {"gamma": Value()}),
        ("ExponentialLR", 20, {"gamma": literal(0.3)}),
    ],
)
def test_slow_known_and_unknown_decays_are_fine(
    cls: str, epochs: int | None, args: dict[str, Value]
) -> None:
    assert slugs(FAST, run(cls, epochs, **args)) == []


def test_a_decay_that_is_only_stepped_now_and_then_is_fine() -> None:
    build = ModelBuilder()
    scheduler = build.scheduler(
        build.optimizer(None), "torch.optim.lr_scheduler.ExponentialLR", gamma=literal(0.1)
    )
    step = branch("epoch % 30 == 0", build.scheduler_step(scheduler), modulo=True)
    assert slugs(FAST, build.program(build.epochs(None, step))) == []
