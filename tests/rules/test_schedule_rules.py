"""Schedules that end before the run does."""

from __future__ import annotations

from typing import Any

import pytest
from builders import branch, display, literal, refer
from model_builders import ModelBuilder, numbers, only, slugs
from observed import observations

from convlint.findings import Severity
from convlint.gpu_probes.observations import ScheduleAhead
from convlint.program.facts import TrainingProgram, Value
from convlint.rules.schedule.cosine_horizon import CosineHorizon
from convlint.rules.schedule.exponential_too_fast import ExponentialTooFast
from convlint.rules.schedule.gamma_grows import GammaGrows
from convlint.rules.schedule.lr_schedule_collapses import LrScheduleCollapses
from convlint.rules.schedule.milestones_unreachable import MilestonesUnreachable

COLLAPSE, FAST = LrScheduleCollapses(), ExponentialTooFast()
GROWS, HORIZON, MILESTONES = GammaGrows(), CosineHorizon(), MilestonesUnreachable()


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


def test_a_fast_decay_per_batch_is_said_to_be_per_batch() -> None:
    finding = only(FAST, run("ExponentialLR", 20, per_batch=True, gamma=literal(0.3)))
    assert "every batch" in finding.message


@pytest.mark.parametrize(
    ("cls", "args"),
    [
        ("StepLR", {"step_size": literal(10), "gamma": literal(10.0)}),
        ("ExponentialLR", {"gamma": literal(1.02)}),
        ("ReduceLROnPlateau", {"factor": literal(1.0)}),
    ],
)
def test_a_factor_that_raises_the_rate_is_an_error(cls: str, args: dict[str, Value]) -> None:
    assert only(GROWS, run(cls, 30, **args)).severity is Severity.ERROR


def test_a_gamma_of_one_is_a_note_and_smaller_ones_are_fine() -> None:
    assert only(GROWS, run("ExponentialLR", 30, gamma=literal(1.0))).severity is Severity.INFO
    assert slugs(GROWS, run("ExponentialLR", 30, gamma=literal(0.9))) == []
    assert slugs(GROWS, run("ExponentialLR", 30, gamma=Value())) == []


@pytest.mark.parametrize(("horizon", "epochs"), [(50, 90), (10, 100), (200, 100)])
def test_a_cosine_that_misses_the_end_is_found(horizon: int, epochs: int) -> None:
    program = run("CosineAnnealingLR", epochs, T_max=literal(horizon))
    assert slugs(HORIZON, program) == ["cosine-horizon"]


@pytest.mark.parametrize(("horizon", "epochs"), [(90, 90), (89, 90), (85, 90), (100, 90)])
def test_a_cosine_that_ends_about_with_the_run_is_fine(horizon: int, epochs: int) -> None:
    assert slugs(HORIZON, run("CosineAnnealingLR", epochs, T_max=literal(horizon))) == []


def test_restarts_parts_of_a_sequence_and_unknown_horizons_are_fine() -> None:
    assert slugs(HORIZON, run("CosineAnnealingWarmRestarts", 90, T_0=literal(40))) == []
    assert slugs(HORIZON, run("CosineAnnealingLR", None, T_max=literal(40))) == []
    build = ModelBuilder()
    optimizer = build.optimizer(None)
    part = build.scheduler(
        optimizer, "torch.optim.lr_scheduler.CosineAnnealingLR", T_max=literal(40)
    )
    whole = build.scheduler(
        optimizer, "torch.optim.lr_scheduler.SequentialLR", schedulers=display(refer(part))
    )
    steps = (build.scheduler_step(part), build.scheduler_step(whole))
    assert slugs(HORIZON, build.program(build.epochs(90, *steps))) == []


def test_milestones_beyond_the_run_or_out_of_order_are_found() -> None:
    assert (
        "never reached"
        in only(MILESTONES, run("MultiStepLR", 50, milestones=numbers(60, 90))).message
    )
    assert (
        "increasing"
        in only(MILESTONES, run("MultiStepLR", None, milestones=numbers(60, 30))).message
    )


@pytest.mark.parametrize(
    ("epochs", "args"),
    [
        (50, {"milestones": numbers(30, 90)}),
        (None, {"milestones": numbers(60, 90)}),
        (50, {"milestones": Value()}),
        (50, {"milestones": numbers(60, 90), "last_epoch": literal(55)}),
    ],
)
def test_reachable_unknown_and_resumed_milestones_are_fine(
    epochs: int | None, args: dict[str, Value]
) -> None:
    assert slugs(MILESTONES, run("MultiStepLR", epochs, **args)) == []
