"""What a whole run costs: the planned steps times the time of one, or an honest 'unknown'."""

from __future__ import annotations

import dataclasses

import pytest
from observed import observations

from convlint.cli.running import cost_of_run
from convlint.cost import cost_of
from convlint.gpu_probes.observations import (
    Batches,
    Observations,
    OptimizerUse,
    PeakMemory,
    Plan,
    Series,
)
from convlint.program import extract_program
from convlint.report.costs import duration, memory_cost, probe_cost, run_cost
from convlint.targets import Target

SEEN = observations(
    steps=5,
    seconds=36.0,
    backwards=13,
    batches=Batches(8, 64, 0, 28),
    # The first step compiles and allocates.
    series=Series(seconds=(9.0, 0.5, 0.4, 0.6, 0.5)),
    plan=Plan(epochs=10, batches_per_epoch=720),
    peak_memory=PeakMemory(host=2**30, device=3 * 2**29),
)


def with_plan(**plan) -> Observations:
    return dataclasses.replace(SEEN, plan=Plan(**plan))


def use(accumulation: float) -> OptimizerUse:
    return OptimizerUse(0, "SGD", (), 5, accumulation, 0, 0, False, False, ())


def test_the_run_is_epochs_times_batches_times_the_median_step():
    cost = cost_of(SEEN, price_per_hour=2.0)
    assert cost.step_seconds == 0.5
    assert cost.planned_steps == 7200
    assert cost.run_seconds == 3600.0
    assert cost.run_price == 2.0
    assert cost.probe_price == pytest.approx(0.02)
    assert run_cost(cost) == (
        "about 60 min, 2.00: 7200 steps (10 epochs (the script's variables) × 720 batches of 64)"
        " × 500 ms, training steps alone"
    )
    assert probe_cost(cost) == "36 s, 0.02 (1 % of the run)"
    assert memory_cost(cost) == (
        "1.50 GiB on the GPU, 1.00 GiB of the process at the peak, the probe's own included"
    )


def test_accumulated_batches_share_a_step():
    cost = cost_of(dataclasses.replace(SEEN, optimizers=(use(4.0),)))
    assert cost.planned_steps == 1800
    assert "/ 4 batches a step" in cost.plan


def test_a_number_of_steps_does_without_epochs():
    assert cost_of(with_plan(steps=1000)).planned_steps == 1000


@pytest.mark.parametrize(
    ("plan", "why"),
    [
        ({}, "the number of epochs or steps is not known"),
        ({"batches_per_epoch": 100}, "the number of epochs or steps is not known"),
        ({"epochs": 3}, "3 epochs, but the batches of one are not known"),
        (
            {"epochs": 3, "batches_per_epoch": 100, "steps": 5000},
            "3 epochs would be 300 steps, but a variable says 5000",
        ),
    ],
)
def test_an_unknown_length_is_said_and_not_guessed(plan, why):
    cost = cost_of(with_plan(**plan), price_per_hour=2.0)
    assert (cost.planned_steps, cost.run_seconds, cost.run_price) == (None, None, None)
    assert cost.unknown == why
    assert run_cost(cost) == f"unknown: {why}; a step takes 500 ms"


def test_too_few_steps_are_not_timed():
    cost = cost_of(dataclasses.replace(SEEN, series=Series(seconds=(9.0, 0.5, 0.4))))
    assert cost.step_seconds is None
    assert run_cost(cost) == "unknown: too few real steps were run to time one"


def test_a_script_that_ended_has_run_all_its_steps():
    cost = cost_of(dataclasses.replace(SEEN, stopped="finished", plan=Plan()))
    assert cost.planned_steps == 5


SOURCE = """
import torch
model = torch.nn.Linear(8, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
loader = torch.utils.data.DataLoader(data, batch_size=8)
{head}
    for x, y in loader:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
"""


@pytest.mark.parametrize(
    ("head", "epochs"),
    [
        ("EPOCHS = 2 * 6\nfor epoch in range(EPOCHS):", 12),
        ("for epoch in range(1, 5 + 1):", 5),
        ("import sys\nfor epoch in range(int(sys.argv[1])):", None),
    ],
)
def test_the_source_tells_the_epochs_where_no_variable_does(head, epochs):
    program = extract_program(SOURCE.format(head=head), "a.py")
    cost = cost_of(with_plan(batches_per_epoch=10), [program])
    assert cost.planned_steps == (None if epochs is None else 10 * epochs)


def test_the_commands_read_the_source_where_no_variable_tells_the_epochs(tmp_path):
    script = tmp_path / "a.py"
    script.write_text(SOURCE.format(head="for epoch in range(3):"))
    cost = cost_of_run(with_plan(batches_per_epoch=100), Target(str(script)), None)
    assert cost is not None
    assert cost.planned_steps == 300
    assert "the loop in the source" in cost.plan


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.0123, "12.3 ms"), (3.4, "3.4 s"), (720, "12 min"), (18360, "5.1 h"), (198720, "2.3 days")],
)
def test_durations_have_the_unit_people_use(seconds, shown):
    assert duration(seconds) == shown
