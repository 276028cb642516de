"""Rules over gradient scaling."""

from __future__ import annotations

import pytest
from builders import ProgramBuilder, branch, literal, named

from convlint.program.facts import Call, EventKind, ObjectKind
from convlint.rules.precision.clip_without_unscale import ClipWithoutUnscale
from convlint.rules.precision.scaled_loss_plain_step import ScaledLossPlainStep
from convlint.rules.precision.scaler_update_missing import ScalerUpdateMissing


class Script(ProgramBuilder):
    """A model, its optimizer and a gradient scaler."""

    def __init__(self, cls: str = "torch.amp.GradScaler", **args) -> None:
        super().__init__()
        self.net = self.model(self.layer("torch.nn.Linear"))
        self.opt = self.optimizer(self.net)
        self.scaler = self.add(ObjectKind.SCALER, cls, names=("scaler",), args=args)

    def scaled(self):
        return self.backward(flags=("scaled",))

    def sstep(self):
        return self.scaler_step(self.scaler, self.opt)

    def update(self):
        return self.event(EventKind.SCALER_UPDATE, self.scaler)

    def judge(self, rule, *body, **fields):
        return list(rule().static(self.program(*body, **fields)))


@pytest.fixture
def s() -> Script:
    return Script()


class TestClipWithoutUnscale:
    def test_reported_at_the_clip(self, s):
        clip = s.clip(s.net)
        (found,) = s.judge(
            ClipWithoutUnscale, s.loop(s.zero(s.opt), s.scaled(), clip, s.sstep(), s.update())
        )
        assert found.location == clip.location
        assert "scaler.unscale_(optimizer)" in found.help

    def test_unscaled_before_the_clip(self, s):
        unscale = s.unscale(s.scaler, s.opt)
        loop = s.loop(s.scaled(), unscale, s.clip(s.net), s.sstep())
        assert not s.judge(ClipWithoutUnscale, loop)

    def test_unscale_of_an_unresolved_optimizer(self, s):
        unscale = s.event(EventKind.UNSCALE, s.scaler)
        loop = s.loop(s.scaled(), unscale, s.clip(s.net), s.sstep())
        assert not s.judge(ClipWithoutUnscale, loop)

    def test_unscale_of_another_optimizer(self, s):
        other = s.optimizer(s.model(s.layer("torch.nn.Linear")), name="other")
        loop = s.loop(
            s.scaled(), s.unscale(s.scaler, other), s.clip(s.net), s.sstep(),
            s.scaler_step(s.scaler, other),
        )  # fmt: skip
        assert s.judge(ClipWithoutUnscale, loop)

    def test_scaler_switched_off(self):
        s = Script(enabled=literal(False))
        loop = s.loop(s.scaled(), s.clip(s.net), s.sstep())
        assert not s.judge(ClipWithoutUnscale, loop)

    def test_scaler_that_may_be_switched_off_is_still_wrong_when_on(self):
        s = Script(enabled=literal(True))
        assert s.judge(ClipWithoutUnscale, s.loop(s.scaled(), s.clip(s.net), s.sstep()))

    def test_other_scalers(self):
        s = Script("fairscale.optim.grad_scaler.ShardedGradScaler")
        loop = s.loop(s.scaled(), s.clip(s.net), s.sstep())
        assert not s.judge(ClipWithoutUnscale, loop)

    def test_bfloat16(self, s):
        loop = s.loop(s.scaled(), s.clip(s.net), s.sstep())
        s.calls.append(
            Call(
                name="torch.autocast",
                location=loop.location,
                args={"dtype": named("torch.bfloat16")},
            )
        )
        assert not s.judge(ClipWithoutUnscale, loop)

    def test_one_pair_per_branch(self, s):
        loop = s.loop(
            branch("use_amp", s.scaled(), otherwise=(s.backward(),)),
            branch("use_amp", s.unscale(s.scaler, s.opt)),
            s.clip(s.net),
            branch("use_amp", s.sstep(), otherwise=(s.step(s.opt),)),
        )
        assert not s.judge(ClipWithoutUnscale, loop)

    def test_clip_of_plain_gradients(self, s):
        loop = s.loop(s.backward(), s.clip(s.net), s.sstep())
        assert not s.judge(ClipWithoutUnscale, loop)


class TestScaledLossPlainStep:
    def test_reported_at_the_step(self, s):
        step = s.step(s.opt)
        (found,) = s.judge(ScaledLossPlainStep, s.loop(s.scaled(), step, s.update()))
        assert found.location == step.location

    def test_scaler_step(self, s):
        assert not s.judge(ScaledLossPlainStep, s.loop(s.scaled(), s.sstep(), s.update()))

    def test_one_pair_per_branch(self, s):
        loop = s.loop(
            branch("use_amp", s.scaled(), otherwise=(s.backward(),)),
            branch("use_amp", s.sstep(), otherwise=(s.step(s.opt),)),
        )
        assert not s.judge(ScaledLossPlainStep, loop)

    def test_unscaled_by_hand(self, s):
        loop = s.loop(s.scaled(), s.unscale(s.scaler, s.opt), s.step(s.opt))
        assert not s.judge(ScaledLossPlainStep, loop)


class TestScalerUpdateMissing:
    def test_reported_at_the_step(self, s):
        step = s.sstep()
        (found,) = s.judge(ScalerUpdateMissing, s.loop(s.loop(s.scaled(), step)))
        assert found.location == step.location

    def test_updated_in_the_epoch_loop(self, s):
        loop = s.loop(s.loop(s.scaled(), s.sstep()), s.update())
        assert not s.judge(ScalerUpdateMissing, loop)

    def test_handed_to_unread_code(self, s):
        call = s.event(EventKind.UNKNOWN_CALL, escapes=(s.scaler,))
        assert not s.judge(ScalerUpdateMissing, s.loop(s.scaled(), s.sstep(), call))
