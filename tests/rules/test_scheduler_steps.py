"""Rules over the steps of schedulers."""

from __future__ import annotations

import pytest
from builders import ProgramBuilder, branch, display, literal, refer

from convlint.program.facts import EventKind, ObjectKind
from convlint.rules.schedule.scheduler_before_optimizer import SchedulerBeforeOptimizer
from convlint.rules.schedule.scheduler_never_stepped import SchedulerNeverStepped


class Script(ProgramBuilder):
    """A model, its optimizer and a scheduler."""

    def __init__(self, cls: str = "torch.optim.lr_scheduler.StepLR") -> None:
        super().__init__()
        self.net = self.model(self.layer("torch.nn.Linear"))
        self.opt = self.optimizer(self.net)
        self.schedule = self.scheduler(self.opt, cls)

    def tick(self, **fields):
        return self.event(EventKind.SCHEDULER_STEP, self.schedule, **fields)

    def batches(self, *more):
        return self.loop(self.zero(self.opt), self.backward(), self.step(self.opt), *more)

    def judge(self, rule, *body, **fields):
        return list(rule().static(self.program(*body, **fields)))


@pytest.fixture
def s() -> Script:
    return Script()


class TestSchedulerBeforeOptimizer:
    def test_at_the_top_of_the_epoch(self, s):
        tick = s.tick()
        (found,) = s.judge(SchedulerBeforeOptimizer, s.loop(tick, s.batches()))
        assert found.location == tick.location

    def test_before_the_step_of_the_same_iteration(self, s):
        loop = s.loop(s.backward(), s.tick(), s.step(s.opt))
        assert s.judge(SchedulerBeforeOptimizer, loop)

    def test_after_the_batches(self, s):
        assert not s.judge(SchedulerBeforeOptimizer, s.loop(s.batches(), s.tick()))

    def test_after_the_step(self, s):
        assert not s.judge(SchedulerBeforeOptimizer, s.loop(s.batches(s.tick())))

    def test_conditional(self, s):
        loop = s.loop(branch("epoch > 0", s.tick()), s.batches())
        assert not s.judge(SchedulerBeforeOptimizer, loop)

    def test_closed_form(self, s):
        loop = s.loop(s.tick(args={"epoch": literal(None)}), s.batches())
        assert not s.judge(SchedulerBeforeOptimizer, loop)

    def test_scheduler_of_another_optimizer(self, s):
        other = s.optimizer(s.model(s.layer("torch.nn.Linear")), name="other")
        loop = s.loop(s.backward(), s.tick(), s.step(other))
        assert not s.judge(SchedulerBeforeOptimizer, loop)

    def test_scaler_step_counts_as_step(self, s):
        scaler = s.add(ObjectKind.SCALER, "torch.amp.GradScaler")
        update = s.event(EventKind.SCALER_UPDATE, scaler)
        loop = s.loop(s.backward(), s.scaler_step(scaler, s.opt), s.tick(), update)
        assert not s.judge(SchedulerBeforeOptimizer, loop)

    def test_schedulers_with_their_own_convention(self):
        s = Script("timm.scheduler.CosineLRScheduler")
        assert not s.judge(SchedulerBeforeOptimizer, s.loop(s.tick(), s.batches()))


class TestSchedulerNeverStepped:
    def test_reported_at_the_constructor(self, s):
        (found,) = s.judge(SchedulerNeverStepped, s.loop(s.batches()))
        assert found.location == s.objects[s.schedule].location

    def test_stepped(self, s):
        assert not s.judge(SchedulerNeverStepped, s.loop(s.batches(), s.tick()))

    def test_unresolved_scheduler_step(self, s):
        tick = s.event(EventKind.SCHEDULER_STEP)
        assert not s.judge(SchedulerNeverStepped, s.loop(s.batches(), tick))

    def test_part_of_a_sequence(self, s):
        whole = s.add(
            ObjectKind.SCHEDULER,
            "torch.optim.lr_scheduler.SequentialLR",
            args={"optimizer": refer(s.opt), "schedulers": display(refer(s.schedule))},
        )
        tick = s.event(EventKind.SCHEDULER_STEP, whole)
        assert not s.judge(SchedulerNeverStepped, s.loop(s.batches(), tick))

    def test_handed_to_unread_code(self, s):
        call = s.event(EventKind.UNKNOWN_CALL, escapes=(s.schedule,))
        assert not s.judge(SchedulerNeverStepped, call, s.loop(s.batches()))

    def test_optimizer_that_is_not_trained_here(self, s):
        assert not s.judge(SchedulerNeverStepped, s.loop(s.backward()))

    def test_managed(self, s):
        assert not s.judge(SchedulerNeverStepped, s.loop(s.batches()), managed=("lightning",))
