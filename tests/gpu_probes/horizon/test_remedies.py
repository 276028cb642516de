"""Changes of small runs whose best change is known, and of runs that need none."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convlint.gpu_probes.horizon import rewritten_steps
from convlint.gpu_probes.horizon.counterfactuals import (
    AS_IT_IS,
    Candidate,
    Setting,
    counterfactuals,
    keep,
    rate_times,
)
from convlint.gpu_probes.horizon.ranking import Trials, ranked
from convlint.gpu_probes.horizon.remedies import Comparison, Effort, OutOfTime, departs
from convlint.gpu_probes.observations.remedies import BETTER, KEEP, SAME, SLIGHT, Remedies, Remedy
from convlint.gpu_probes.tape import TapeRecorder
from convlint.gpu_probes.tape.trajectory import SOUND, Handling, RecordedStep, Start

Loss = Callable[[nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]
BATCHES, HELD_OUT = 12, 3
SMALL = (Effort(horizon=100, orders=4, finalists=3),)


class Run:
    """The first steps of a linear classifier of three clusters, recorded."""

    def __init__(self, rate: float, loss: Loss | None = None, handling: Handling = SOUND) -> None:
        torch.manual_seed(0)
        self.model = nn.Linear(4, 3)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=rate)
        self.start = Start(self.optimizer)
        self.batches: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.losses: list[float] = []
        options = {"lr": rate, "momentum": 0.0, "weight_decay": 0.0}
        centres = 2.0 * torch.eye(3, 4)
        recorded = []
        for _ in range(BATCHES + HELD_OUT):
            labels = torch.randint(0, 3, (16,))
            inputs = centres[labels] + 0.5 * torch.randn(16, 4)
            self.batches.append((inputs, labels))
            recorder = TapeRecorder()
            with recorder:
                value = (loss or _cross_entropy)(self.model, inputs, labels)
            recorded.append(recorder.finish(value))
            if handling is not Handling.CARRIED:
                self.optimizer.zero_grad()
            value.backward()
            self.losses.append(float(value.detach()))
            if handling is not Handling.CLEARED:
                self.optimizer.step()
        self.steps = [
            RecordedStep((tape,), (options,), handling=handling) for tape in recorded[:BATCHES]
        ]
        self.held_out = [RecordedStep((tape,), (options,)) for tape in recorded[BATCHES:]]
        self.setting = Setting(
            optimizer="SGD",
            options=(options,),
            later_rates=(rate,) * BATCHES,
            clippings=(),
            gradient_norm=1.0,
            weights=(self.model.weight,),
            place=None,
        )

    def compare(self, *changes: Candidate, deadline: float = math.inf) -> Remedies:
        comparison = Comparison(
            self.start,
            self.steps,
            self.held_out,
            deadline,
            constant=math.log(3.0),
            rung=lambda factor: rate_times(factor, self.setting),
        )
        return comparison.run([keep(), *changes])


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr("convlint.gpu_probes.horizon.remedies.EFFORTS", SMALL)


def _cross_entropy(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(model(x), y)


def _squared_error(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return F.mse_loss(model(x), F.one_hot(y, 3).float())


def outcomes(remedies: Remedies) -> dict[str, str]:
    return {remedy.change: remedy.outcome for remedy in remedies.tried}


def best(remedies: Remedies) -> Remedy:
    return remedies.tried[0]


def test_a_run_at_a_good_rate_is_kept():
    run = Run(rate=0.5)
    remedies = run.compare(*counterfactuals(run.setting))
    assert best(remedies).kind == KEEP
    assert BETTER not in outcomes(remedies).values()


def test_a_rate_that_diverges_is_to_be_lowered():
    run = Run(rate=300.0, loss=_squared_error)
    remedies = run.compare(*counterfactuals(run.setting))
    assert best(remedies).kind == "learning rate"
    assert best(remedies).outcome == BETTER
    assert best(remedies).effect is not None
    assert best(remedies).effect.ci[0] > 0.0
    assert best(remedies).p < 0.05


def test_the_ladder_of_rates_goes_on_until_it_gets_worse():
    run = Run(rate=1e-7)
    remedies = run.compare(*counterfactuals(run.setting))
    factor = float(best(remedies).change.rpartition("× ")[2].rstrip(")"))
    assert best(remedies).kind == "learning rate"
    # Between 0.1 and 100, where this convex problem is solved.
    assert 1e6 <= factor <= 1e9


def test_gradients_carried_on_are_repeated_and_clearing_them_is_the_remedy():
    # Without any clearing the sum of all gradients swings about the minimum and never settles.
    run = Run(rate=0.5, loss=_squared_error, handling=Handling.CARRIED)
    assert departs(run.start, run.steps, run.losses) == ""
    cleared = Candidate(
        "code",
        "cleared",
        "",
        "",
        lambda *_: replace(AS_IT_IS, handling=SOUND),
        answers=("zero-grad-missing",),
    )
    slower = rate_times(0.5, run.setting)
    assert outcomes(run.compare(cleared, slower))["cleared"] == BETTER


def test_a_replay_that_is_not_the_run_is_told():
    run = Run(rate=0.5, handling=Handling.CLEARED)
    sound = [replace(step, handling=SOUND) for step in run.steps]
    assert departs(run.start, run.steps, run.losses) == ""
    assert departs(run.start, sound, run.losses).startswith("replayed, step ")


def test_a_corrected_loss_judges_all_changes():
    run = Run(rate=0.02, loss=lambda m, x, y: F.cross_entropy(m(x).softmax(1), y))
    rewrite = rewritten_steps.without_output_softmax(run.steps[0].tapes[0])
    assert rewrite is not None
    corrected = Candidate(
        "code", "no softmax", "", "", lambda *_: AS_IT_IS, rewrite, corrects="the scores' loss"
    )
    remedies = run.compare(corrected, rate_times(1 / 3, run.setting))
    assert remedies.measure == "the scores' loss"
    assert best(remedies).change == "no softmax"
    # Before the first step too: with the second softmax these batches would have 1.08.
    weight, bias = run.start.parameters
    at_start = [
        float(F.cross_entropy(F.linear(x, weight, bias), y).detach())
        for x, y in run.batches[BATCHES:]
    ]
    assert remedies.initial == pytest.approx(sum(at_start) / HELD_OUT, rel=1e-5)


def test_a_certain_lead_of_a_small_share_is_hardly_better():
    keep = Candidate(KEEP, "", "", "", lambda *_: AS_IT_IS)
    small = Candidate("momentum", "small", "", "", lambda *_: AS_IT_IS)
    best_of_all = Candidate("learning rate", "large", "", "", lambda *_: AS_IT_IS)
    unsure = Candidate("clipping", "unsure", "", "", lambda *_: AS_IT_IS)
    trials = Trials((50, 100))
    for order in range(5):
        wobble = 0.01 * (-1) ** order
        trials.note(keep, order, (2.0, 1.9 + wobble))
        trials.note(small, order, (1.95, 1.85 + wobble + 1e-4 * order))
        trials.note(best_of_all, order, (1.0, 0.9 + wobble + 1e-4 * order))
        trials.note(unsure, order, (2.0, 1.9 - wobble))
    found = ranked(trials, [keep, small, best_of_all, unsure], 2.3, effective=3)
    assert {r.change: r.outcome for r in found if r.kind != KEEP} == {
        "large": BETTER,
        "small": SLIGHT,
        "unsure": SAME,
    }


def test_two_changes_that_do_the_same_are_not_distinguished_from_the_run():
    run = Run(rate=0.5)
    nothing = Candidate("warm-up", "nothing", "", "", lambda *_: AS_IT_IS)
    remedies = run.compare(nothing, rate_times(1 / 3, run.setting))
    assert outcomes(remedies)["nothing"] == SAME
    assert best(remedies).kind == KEEP


def test_a_table_says_on_what_it_rests():
    run = Run(rate=0.5)
    remedies = run.compare(rate_times(1 / 3, run.setting))
    assert remedies.horizon == 100
    assert remedies.checkpoints == (25, 50, 75, 100)
    assert (remedies.batches, remedies.held_out, remedies.orders) == (BATCHES, HELD_OUT, 4)
    assert remedies.untrained == pytest.approx(min(math.log(3.0), remedies.initial))


def test_without_time_for_a_horizon_that_counts_nothing_is_said(monkeypatch):
    run = Run(rate=0.5)
    with pytest.raises(OutOfTime, match="the budget was used up"):
        run.compare(rate_times(1 / 3, run.setting), deadline=time.monotonic())
    endless = (Effort(horizon=10**8, orders=4, finalists=3),)
    monkeypatch.setattr("convlint.gpu_probes.horizon.remedies.EFFORTS", endless)
    with pytest.raises(OutOfTime, match=r"100000000 steps of 2 changes take about \d+ s"):
        run.compare(rate_times(1 / 3, run.setting), deadline=time.monotonic() + 60.0)
