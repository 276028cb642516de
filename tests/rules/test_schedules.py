"""Simulated schedules agree with PyTorch's own schedulers, step by step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from builders import display, literal, refer
from model_builders import ModelBuilder

from convlint.program.facts import Value
from convlint.rules.patterns.schedules import plan_of, simulate, sparkline

STEPS = 40
LEARNING_RATE = 0.1


def value_of(argument: Any) -> Value:
    if isinstance(argument, (list, tuple)):
        return display(*(literal(item) for item in argument))
    return literal(argument)


def real_rates(make: Any) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=LEARNING_RATE)
    scheduler = make(optimizer)
    rates = []
    for _ in range(STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def simulated_rates(
    *specifications: tuple[str, dict[str, Any]], outer: str = "", **outer_args: Any
) -> tuple[float, ...] | None:
    build = ModelBuilder()
    optimizer = build.optimizer(None, args={"lr": literal(LEARNING_RATE)})
    made = [
        build.scheduler(
            optimizer,
            f"torch.optim.lr_scheduler.{name}",
            **{key: value_of(argument) for key, argument in args.items()},
        )
        for name, args in specifications
    ]
    number = made[0]
    if outer:
        args = {key: value_of(argument) for key, argument in outer_args.items()}
        args["schedulers"] = display(*(refer(child) for child in made))
        number = build.scheduler(optimizer, f"torch.optim.lr_scheduler.{outer}", **args)
    objects = {item.id: item for item in build.objects}
    return simulate(objects[number], objects, STEPS)


SINGLE: list[tuple[str, dict[str, Any]]] = [
    ("StepLR", {"step_size": 7}),
    ("StepLR", {"step_size": 3, "gamma": 0.7}),
    ("MultiStepLR", {"milestones": [30, 10, 20], "gamma": 0.5}),
    ("MultiStepLR", {"milestones": [5, 5, 9]}),
    ("ConstantLR", {}),
    ("ConstantLR", {"factor": 0.25, "total_iters": 12}),
    ("LinearLR", {}),
    ("LinearLR", {"start_factor": 0.1, "end_factor": 0.9, "total_iters": 17}),
    ("ExponentialLR", {"gamma": 0.8}),
    ("PolynomialLR", {"total_iters": 25, "power": 2.0}),
    ("PolynomialLR", {}),
    ("CosineAnnealingLR", {"T_max": 40}),
    ("CosineAnnealingLR", {"T_max": 15, "eta_min": 0.01}),
    ("CosineAnnealingWarmRestarts", {"T_0": 6}),
    ("CosineAnnealingWarmRestarts", {"T_0": 3, "T_mult": 2, "eta_min": 0.001}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.2, "step_size_up": 6, "cycle_momentum": False}),
    (
        "CyclicLR",
        {
            "base_lr": 0.01,
            "max_lr": 0.2,
            "step_size_up": 4,
            "step_size_down": 9,
            "mode": "triangular2",
            "cycle_momentum": False,
        },
    ),
    (
        "CyclicLR",
        {
            "base_lr": 0.01,
            "max_lr": 0.2,
            "step_size_up": 5,
            "mode": "exp_range",
            "gamma": 0.95,
            "cycle_momentum": False,
        },
    ),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 45, "cycle_momentum": False}),
    (
        "OneCycleLR",
        {
            "max_lr": 0.5,
            "epochs": 6,
            "steps_per_epoch": 8,
            "three_phase": True,
            "anneal_strategy": "linear",
            "cycle_momentum": False,
        },
    ),
]


@pytest.mark.parametrize(("name", "args"), SINGLE)
def test_a_scheduler_is_simulated_exactly(name: str, args: dict[str, Any]) -> None:
    def make(optimizer: torch.optim.Optimizer) -> Any:
        return getattr(torch.optim.lr_scheduler, name)(optimizer, **args)

    # PyTorch multiplies step by step, the closed form does not: rounding differs by a few ulps.
    assert simulated_rates((name, args)) == pytest.approx(real_rates(make), rel=1e-9, abs=1e-12)


def test_a_warm_up_followed_by_a_cosine_is_simulated_exactly() -> None:
    parts: list[tuple[str, dict[str, Any]]] = [
        ("LinearLR", {"start_factor": 0.01, "total_iters": 5}),
        ("CosineAnnealingLR", {"T_max": 35}),
    ]

    def make(optimizer: torch.optim.Optimizer) -> Any:
        children = [getattr(torch.optim.lr_scheduler, n)(optimizer, **a) for n, a in parts]
        return torch.optim.lr_scheduler.SequentialLR(optimizer, children, milestones=[5])

    simulated = simulated_rates(*parts, outer="SequentialLR", milestones=[5])
    assert simulated == pytest.approx(real_rates(make), rel=1e-9, abs=1e-12)


def test_chained_schedulers_multiply() -> None:
    parts: list[tuple[str, dict[str, Any]]] = [
        ("ConstantLR", {"factor": 0.1, "total_iters": 4}),
        ("ExponentialLR", {"gamma": 0.9}),
        ("CosineAnnealingLR", {"T_max": 60}),
    ]

    def make(optimizer: torch.optim.Optimizer) -> Any:
        children = [getattr(torch.optim.lr_scheduler, n)(optimizer, **a) for n, a in parts]
        return torch.optim.lr_scheduler.ChainedScheduler(children, optimizer)

    simulated = simulated_rates(*parts, outer="ChainedScheduler")
    assert simulated == pytest.approx(real_rates(make), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("ExponentialLR", {}),
        ("LambdaLR", {"lr_lambda": 1.0}),
        ("ReduceLROnPlateau", {"factor": 0.1}),
        ("StepLR", {"step_size": 0}),
        ("StepLR", {"step_size": 3, "last_epoch": 10}),
        ("OneCycleLR", {"max_lr": 0.1, "total_steps": STEPS - 5}),
    ],
)
def test_what_is_not_known_is_not_simulated(name: str, args: dict[str, Any]) -> None:
    assert simulated_rates((name, args)) is None


def test_a_run_of_known_length_has_a_plan() -> None:
    build = ModelBuilder()
    scheduler = build.scheduler(build.optimizer(None), gamma=literal(0.1))
    step = build.scheduler_step(scheduler)
    program = build.program(build.epochs(30, step))
    plan = plan_of(program, program.objects[scheduler])
    assert plan is not None
    assert (plan.steps, plan.unit) == (30, "epoch")


def test_a_run_of_unknown_length_has_no_plan() -> None:
    build = ModelBuilder()
    scheduler = build.scheduler(build.optimizer(None))
    loader = build.loader(None)
    program = build.program(
        build.epochs(30, build.batches(loader, build.scheduler_step(scheduler)))
    )
    assert plan_of(program, program.objects[scheduler]) is None


def test_the_sparkline_shows_where_the_rate_dies() -> None:
    assert sparkline((1.0,) * 4 + (0.0,) * 4) == "████▁▁▁▁"
    assert sparkline((0.0, 0.0)) == ""
    assert len(sparkline(tuple(float(i) for i in range(1000)), width=20)) == 20


def table_of(function: Any) -> Value:
    """A function as extraction gives it: every point up to 255, then one in ten."""
    steps = [*range(256), *range(260, 1001, 10)]
    return Value(keys=tuple(steps), items=tuple(literal(float(function(t))) for t in steps))


@pytest.mark.parametrize("name", ["LambdaLR", "MultiplicativeLR"])
def test_a_tabulated_function_runs_like_the_real_scheduler(name: str) -> None:
    def function(t: int) -> float:
        return 1 / (1 + 0.1 * t)

    build = ModelBuilder()
    optimizer = build.optimizer(None, args={"lr": literal(LEARNING_RATE)})
    number = build.scheduler(
        optimizer, f"torch.optim.lr_scheduler.{name}", lr_lambda=table_of(function)
    )
    objects = {item.id: item for item in build.objects}
    scheduler = getattr(torch.optim.lr_scheduler, name)
    assert simulate(objects[number], objects, STEPS) == pytest.approx(
        real_rates(lambda o: scheduler(o, lr_lambda=function)), rel=1e-9
    )


def test_a_table_with_gaps_is_read_between_its_points_and_not_beyond() -> None:
    build = ModelBuilder()
    optimizer = build.optimizer(None, args={"lr": literal(LEARNING_RATE)})
    number = build.scheduler(
        optimizer,
        "torch.optim.lr_scheduler.LambdaLR",
        lr_lambda=table_of(lambda t: 1 - t / 1000),
    )
    objects = {item.id: item for item in build.objects}
    rates = simulate(objects[number], objects, 1001)
    assert rates is not None
    assert rates[777] == pytest.approx(LEARNING_RATE * 0.223)
    assert simulate(objects[number], objects, 1002) is None


def test_a_linear_schedule_of_transformers_rises_and_falls_to_zero() -> None:
    build = ModelBuilder()
    optimizer = build.optimizer(None, args={"lr": literal(LEARNING_RATE)})
    number = build.scheduler(
        optimizer,
        "transformers.get_linear_schedule_with_warmup",
        num_warmup_steps=literal(10),
        num_training_steps=literal(30),
    )
    objects = {item.id: item for item in build.objects}
    rates = simulate(objects[number], objects, 31)
    expected = [t / 10 if t < 10 else (30 - t) / 20 for t in range(31)]
    assert rates == pytest.approx([LEARNING_RATE * factor for factor in expected])
