"""The measured halves of the loop rules."""

from __future__ import annotations

import pytest
from observed import observations

from convlint.findings import Severity
from convlint.gpu_probes.observations import (
    Batches,
    ModeUse,
    OptimizerUse,
    Place,
)
from convlint.rules.loop.backward_missing import BackwardMissing
from convlint.rules.loop.clip_after_step import ClipAfterStep
from convlint.rules.loop.clip_before_backward import ClipBeforeBackward
from convlint.rules.loop.constant_batches import ConstantBatches
from convlint.rules.loop.eval_mode_in_training import EvalModeInTraining
from convlint.rules.loop.zero_grad_kills_gradient import ZeroGradKillsGradient
from convlint.rules.loop.zero_grad_missing import ZeroGradMissing
from convlint.rules.optimizer.never_stepped import NeverStepped
from convlint.rules.optimizer.optimizer_recreated import OptimizerRecreated
from convlint.rules.precision.clip_without_unscale import ClipWithoutUnscale
from convlint.rules.schedule.scheduler_before_optimizer import SchedulerBeforeOptimizer

HEALTHY = ("zero_grad", "backward", "clip", "step", "scheduler_step") * 3


def use(
    events=HEALTHY, *, line=10, carried=0, compared=10, steps=10, closure=False, gradients=True
):
    return OptimizerUse(
        id=0,
        cls="torch.optim.SGD",
        groups=(),
        steps=steps,
        accumulation=1.0,
        carried_gradient_steps=carried,
        compared_steps=compared,
        clipped="clip" in events,
        uses_closure=closure,
        events=tuple(events),
        place=Place("/nowhere/train.py", line),
        found_gradients=gradients,
    )


def observed(*optimizers, **fields):
    fields = {"script": "/nowhere/train.py", "steps": 10, "backwards": 18, **fields}
    return observations(optimizers=optimizers, **fields)


def judge(rule, seen):
    return list(rule().measured(seen)), rule().reading(seen)


ORDER_RULES = {
    ZeroGradKillsGradient: ("backward", "zero_grad", "step") * 3,
    ClipAfterStep: ("zero_grad", "backward", "step", "clip") * 3,
    ClipBeforeBackward: ("zero_grad", "clip", "backward", "step") * 3,
    SchedulerBeforeOptimizer: ("scheduler_step", "zero_grad", "backward", "step") * 3,
}


@pytest.mark.parametrize("rule", ORDER_RULES)
def test_faulty_order_is_confirmed_at_the_optimizer(rule):
    (found,), _ = judge(rule, observed(use(ORDER_RULES[rule])))
    assert found.location.line == 10
    assert found.evidence[0].source == "measured"


@pytest.mark.parametrize("rule", ORDER_RULES)
def test_healthy_order_refutes(rule):
    found, reading = judge(rule, observed(use()))
    assert not found
    assert reading


@pytest.mark.parametrize("rule", ORDER_RULES)
@pytest.mark.parametrize("other", ORDER_RULES)
def test_orders_are_told_apart(rule, other):
    found, _ = judge(rule, observed(use(ORDER_RULES[other])))
    assert bool(found) is (rule is other)


@pytest.mark.parametrize("rule", ORDER_RULES)
def test_nothing_recorded_is_unknown(rule):
    assert judge(rule, observed()) == ([], None)


def test_clip_of_scaled_gradients_needs_a_scaler():
    events = ("zero_grad", "backward", "clip", "scaler_step") * 3
    assert judge(ClipWithoutUnscale, observed(use(events))) == ([], None)
    found, _ = judge(ClipWithoutUnscale, observed(use(events), recognised=("GradScaler",)))
    assert found
    too_late = ("zero_grad", "backward", "clip", "unscale", "scaler_step") * 3
    found, _ = judge(ClipWithoutUnscale, observed(use(too_late), recognised=("GradScaler",)))
    assert found
    unscaled = ("zero_grad", "backward", "unscale", "clip", "scaler_step") * 3
    found, reading = judge(ClipWithoutUnscale, observed(use(unscaled), recognised=("GradScaler",)))
    assert not found
    assert reading


def test_carried_gradients_confirm_a_missing_clear():
    (found,), _ = judge(ZeroGradMissing, observed(use(carried=10)))
    assert found.evidence[0].value == 10


def test_cleared_gradients_refute_a_missing_clear():
    found, reading = judge(ZeroGradMissing, observed(use(carried=0)))
    assert not found
    assert "0 of 10" in reading


@pytest.mark.parametrize("fields", [{"compared": 1, "carried": 1}, {"carried": 9, "closure": True}])
def test_too_little_or_a_closure_says_nothing_about_clears(fields):
    assert judge(ZeroGradMissing, observed(use(**fields))) == ([], None)


def test_eval_mode_during_training_is_reported_once_at_the_worst_module():
    modes = (
        ModeUse("drop", "Dropout", 10, 0.6, True),
        ModeUse("late", "Dropout", 10, 0.4, True),
        ModeUse("teacher", "BatchNorm2d", 10, 1.0, False),
    )
    (found,), _ = judge(EvalModeInTraining, observed(modes=modes))
    assert found.message.startswith("drop (Dropout)")
    assert found.evidence[0].value == 0.6


@pytest.mark.parametrize(
    "modes",
    [
        (ModeUse("drop", "Dropout", 10, 0.0, True),),
        (ModeUse("drop", "Dropout", 10, 0.1, True),),
        (ModeUse("bn", "BatchNorm2d", 10, 1.0, True), ModeUse("drop", "Dropout", 10, 0.0, True)),
    ],
    ids=["train mode", "one trial pass", "frozen batch statistics"],
)
def test_train_mode_and_frozen_batch_statistics_are_not_reported(modes):
    assert not judge(EvalModeInTraining, observed(modes=modes))[0]


def test_healthy_modes_refute_only_at_the_end_of_the_script():
    modes = (ModeUse("drop", "Dropout", 10, 0.0, True),)
    assert judge(EvalModeInTraining, observed(modes=modes))[1] is None
    assert judge(EvalModeInTraining, observed(modes=modes, stopped="finished"))[1]


def test_one_line_making_an_optimizer_per_step():
    (found,), _ = judge(OptimizerRecreated, observed(*(use(steps=1) for _ in range(10))))
    assert found.location.line == 10


def test_two_networks_are_not_a_recreated_optimizer():
    found, reading = judge(OptimizerRecreated, observed(use(line=1), use(line=2)))
    assert not found
    assert reading


def test_script_that_ended_without_a_step():
    assert judge(NeverStepped, observed(stopped="finished", backwards=40, steps=0))[0]
    by_hand = observed(stopped="finished", backwards=40, steps=40, recognised=("updates by hand",))
    assert not judge(NeverStepped, by_hand)[0]
    assert not judge(NeverStepped, observed(backwards=40, steps=0))[0]
    withheld = use(steps=0)
    assert not judge(NeverStepped, observed(withheld, stopped="finished", backwards=40, steps=0))[0]
    assert judge(NeverStepped, observed(use()))[1]


def test_script_that_ended_without_a_backward():
    steps = use(("zero_grad", "step") * 4, gradients=False)
    assert judge(BackwardMissing, observed(steps, stopped="no-training", backwards=0))[0]
    assert judge(BackwardMissing, observed(use()))[1]


@pytest.mark.parametrize("gradients", [True, None])
def test_gradients_that_no_backward_brought_are_not_missing(gradients):
    """``autograd.grad`` or an evolution strategy put them into ``.grad``."""
    steps = use(("step",) * 4, gradients=gradients)
    assert not judge(BackwardMissing, observed(steps, stopped="steps", backwards=0))[0]


def test_equal_batches_are_found_and_a_full_batch_is_not():
    same = Batches(count=8, size=32, identical=28, compared=28)
    (found,), reading = judge(ConstantBatches, observed(batches=same))
    assert found.severity is Severity.WARNING
    assert reading == "28 of 28 pairs of held batches are equal"
    assert judge(ConstantBatches, observed(batches=same, recognised=("full batch",))) == ([], None)
    different = Batches(count=8, size=32, identical=1, compared=28)
    assert judge(ConstantBatches, observed(batches=different))[0] == []
    too_few = Batches(count=2, size=32, identical=1, compared=1)
    assert judge(ConstantBatches, observed(batches=too_few)) == ([], None)
