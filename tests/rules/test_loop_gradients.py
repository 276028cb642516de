"""Rules over clear, backward, clip and step."""

from __future__ import annotations

import pytest
from builders import ProgramBuilder, branch, refer

from convlint.findings import Confidence
from convlint.program.facts import Call, EventKind, ObjectKind
from convlint.rules.loop.backward_missing import BackwardMissing
from convlint.rules.loop.clip_after_step import ClipAfterStep
from convlint.rules.loop.clip_before_backward import ClipBeforeBackward
from convlint.rules.loop.zero_grad_kills_gradient import ZeroGradKillsGradient
from convlint.rules.loop.zero_grad_missing import ZeroGradMissing
from convlint.rules.loop.zero_grad_per_epoch import ZeroGradPerEpoch


class Script(ProgramBuilder):
    """One model and one optimizer."""

    def __init__(self, cls: str = "torch.optim.SGD") -> None:
        super().__init__()
        self.net = self.model(self.layer("torch.nn.Linear"))
        self.opt = self.optimizer(self.net, cls)

    def judge(self, rule, *body, **fields):
        return list(rule().static(self.program(*body, **fields)))


@pytest.fixture
def s() -> Script:
    return Script()


class TestZeroGradMissing:
    def test_reported_at_the_backward(self, s):
        backward = s.backward()
        (found,) = s.judge(ZeroGradMissing, s.loop(s.loop(backward, s.step(s.opt))))
        assert found.location == backward.location
        assert found.confidence is Confidence.HIGH
        assert "optimizer" in found.message

    def test_full_batch_loop_is_reported(self, s):
        assert s.judge(ZeroGradMissing, s.loop(s.backward(), s.step(s.opt)))

    def test_no_loop_is_a_helper(self, s):
        assert not s.judge(ZeroGradMissing, s.backward(), s.step(s.opt))

    @pytest.mark.parametrize("where", ["before", "after"])
    def test_cleared_in_the_loop(self, s, where):
        events = [s.backward(), s.step(s.opt)]
        events.insert(0 if where == "before" else 2, s.zero(s.opt))
        assert not s.judge(ZeroGradMissing, s.loop(*events))

    def test_model_zero_grad_counts(self, s):
        assert not s.judge(ZeroGradMissing, s.loop(s.zero(s.net), s.backward(), s.step(s.opt)))

    def test_unresolved_clear_counts(self, s):
        assert not s.judge(ZeroGradMissing, s.loop(s.zero(None), s.backward(), s.step(s.opt)))

    def test_hand_written_clear_of_parameters_counts(self, s):
        clear = s.event(EventKind.ZERO_GRAD, over=(s.net,), flags=("hand-written",))
        assert not s.judge(ZeroGradMissing, s.loop(s.loop(clear), s.backward(), s.step(s.opt)))

    def test_accumulation_with_modulo_is_not_missing_zero_grad(self, s):
        step = branch("i % 4 == 0", s.step(s.opt), s.zero(s.opt), modulo=True)
        assert not s.judge(ZeroGradMissing, s.loop(s.loop(s.backward(), step)))

    def test_clear_of_another_network_does_not_count(self, s):
        other = s.optimizer(s.model(s.layer("torch.nn.Linear")), name="other")
        loop = s.loop(s.zero(other), s.backward(), s.step(other), s.backward(), s.step(s.opt))
        (found,) = s.judge(ZeroGradMissing, loop)
        assert "`optimizer`" in found.message

    def test_gan_that_clears_each_network_by_module(self, s):
        other = s.model(s.layer("torch.nn.Linear"))
        generator = s.optimizer(other, name="g")
        loop = s.loop(
            s.zero(s.net), s.backward(), s.backward(), s.step(s.opt),
            s.zero(other), s.backward(), s.step(generator),
        )  # fmt: skip
        assert not s.judge(ZeroGradMissing, s.loop(loop))

    def test_distributed_autograd_context(self, s):
        context = ("dist_autograd",)
        loop = s.loop(s.backward(context=context), s.step(s.opt, context=context))
        assert not s.judge(ZeroGradMissing, loop)

    def test_closure(self, s):
        loop = s.loop(s.backward(), s.step(s.opt, flags=("closure",)))
        assert not s.judge(ZeroGradMissing, loop)

    def test_gradients_written_by_hand(self, s):
        loop = s.loop(s.backward(), s.event(EventKind.GRAD_WRITE), s.step(s.opt))
        assert not s.judge(ZeroGradMissing, loop)

    def test_managed_program(self, s):
        loop = s.loop(s.backward(), s.step(s.opt))
        assert not s.judge(ZeroGradMissing, loop, managed=("lightning",))

    def test_loop_that_runs_once(self, s):
        loop = s.loop(s.backward(), s.step(s.opt), branch("", ends="break"))
        once = s.loop(s.backward(), branch("", s.step(s.opt), ends="break"))
        assert s.judge(ZeroGradMissing, loop)
        s.entries.clear()
        assert not s.judge(ZeroGradMissing, once)

    def test_optimizer_handed_to_unread_code_in_the_loop_is_low_confidence(self, s):
        call = s.event(EventKind.UNKNOWN_CALL, escapes=(s.opt,))
        (found,) = s.judge(ZeroGradMissing, s.loop(call, s.backward(), s.step(s.opt)))
        assert found.confidence is Confidence.LOW

    def test_loss_of_unread_code_keeps_confidence(self, s):
        call = s.event(EventKind.UNKNOWN_CALL, escapes=())
        loop = s.loop(call, s.backward(), s.step(s.opt), incomplete=True)
        (found,) = s.judge(ZeroGradMissing, loop)
        assert found.confidence is Confidence.HIGH

    def test_incomplete_loop_is_low_confidence(self, s):
        loop = s.loop(s.backward(), s.step(s.opt), incomplete=True)
        (found,) = s.judge(ZeroGradMissing, loop)
        assert found.confidence is Confidence.LOW

    def test_optimizer_given_as_argument_is_medium_confidence(self, s):
        argument = s.add(ObjectKind.SYMBOL, "", names=("opt",))
        (found,) = s.judge(ZeroGradMissing, s.loop(s.backward(), s.step(argument)))
        assert found.confidence is Confidence.MEDIUM


class TestZeroGradPerEpoch:
    def test_cleared_in_the_epoch_loop_only(self, s):
        backward = s.backward()
        nest = s.loop(s.zero(s.opt), s.loop(backward, s.step(s.opt)))
        (found,) = s.judge(ZeroGradPerEpoch, nest)
        assert found.location == backward.location
        s.entries.clear()
        assert not s.judge(ZeroGradMissing, nest)

    def test_cleared_in_the_first_batch_only(self, s):
        clear = branch("i == 0", s.zero(s.opt), first_iteration=True)
        assert s.judge(ZeroGradPerEpoch, s.loop(s.loop(clear, s.backward(), s.step(s.opt))))

    def test_accumulation_over_the_epoch(self, s):
        step = branch("i % 8 == 7", s.step(s.opt), modulo=True)
        assert not s.judge(ZeroGradPerEpoch, s.loop(s.zero(s.opt), s.loop(s.backward(), step)))

    def test_full_batch(self, s):
        loop = s.loop(s.zero(s.opt), s.loop(s.backward()), s.step(s.opt))
        assert not s.judge(ZeroGradPerEpoch, loop)

    def test_several_steps_per_batch(self, s):
        loader = s.add(ObjectKind.LOADER, "torch.utils.data.DataLoader")
        inner = s.loop(s.backward(), s.step(s.opt))
        outer = s.loop(s.zero(s.opt), inner)
        outer = type(outer)(
            id=outer.id, location=outer.location, kind="for", over=refer(loader), body=outer.body
        )
        assert not s.judge(ZeroGradPerEpoch, outer)


class TestZeroGradKillsGradient:
    def test_reported_at_the_clear(self, s):
        clear = s.zero(s.opt)
        (found,) = s.judge(ZeroGradKillsGradient, s.loop(s.backward(), clear, s.step(s.opt)))
        assert found.location == clear.location

    def test_model_zero_grad(self, s):
        assert s.judge(ZeroGradKillsGradient, s.loop(s.backward(), s.zero(s.net), s.step(s.opt)))

    def test_clear_after_step(self, s):
        loop = s.loop(s.backward(), s.step(s.opt), s.zero(s.opt))
        assert not s.judge(ZeroGradKillsGradient, loop)

    def test_second_backward_after_the_clear(self, s):
        loop = s.loop(s.backward(), s.zero(s.opt), s.backward(), s.step(s.opt))
        assert not s.judge(ZeroGradKillsGradient, loop)

    def test_another_networks_clear(self, s):
        other = s.model(s.layer("torch.nn.Linear"))
        loop = s.loop(s.zero(s.opt), s.backward(), s.zero(other), s.step(s.opt))
        assert not s.judge(ZeroGradKillsGradient, loop)

    def test_unresolved_clear(self, s):
        loop = s.loop(s.backward(), s.zero(None), s.step(s.opt))
        assert not s.judge(ZeroGradKillsGradient, loop)

    def test_conditional_clear(self, s):
        loop = s.loop(s.backward(), branch("bad", s.zero(s.opt)), s.step(s.opt))
        assert not s.judge(ZeroGradKillsGradient, loop)

    def test_clear_and_step_under_the_same_test(self, s):
        both = branch("i % 4 == 0", s.zero(s.opt), s.step(s.opt), modulo=True)
        assert s.judge(ZeroGradKillsGradient, s.loop(s.backward(), both))

    def test_gradients_put_back_by_hand(self, s):
        put_back = s.event(EventKind.GRAD_WRITE)
        loop = s.loop(s.backward(), s.zero(s.opt), put_back, s.step(s.opt))
        assert not s.judge(ZeroGradKillsGradient, loop)


class TestClipAfterStep:
    def test_reported_at_the_clip(self, s):
        clip = s.clip(s.net)
        loop = s.loop(s.zero(s.opt), s.backward(), s.step(s.opt), clip)
        (found,) = s.judge(ClipAfterStep, loop)
        assert found.location == clip.location

    def test_clip_of_unresolved_parameters_with_one_optimizer(self, s):
        loop = s.loop(s.zero(s.opt), s.backward(), s.step(s.opt), s.clip())
        assert s.judge(ClipAfterStep, loop)

    def test_clip_between(self, s):
        loop = s.loop(s.zero(s.opt), s.backward(), s.clip(s.net), s.step(s.opt))
        assert not s.judge(ClipAfterStep, loop)

    def test_clip_on_both_sides(self, s):
        loop = s.loop(s.zero(s.opt), s.backward(), s.clip(s.net), s.step(s.opt), s.clip(s.net))
        assert not s.judge(ClipAfterStep, loop)

    def test_clip_of_carried_gradients(self, s):
        loop = s.loop(s.backward(), s.step(s.opt), s.clip(s.net))
        assert not s.judge(ClipAfterStep, loop)

    def test_clip_of_another_network(self, s):
        other = s.model(s.layer("torch.nn.Linear"))
        loop = s.loop(s.zero(s.opt), s.backward(), s.step(s.opt), s.clip(other))
        assert not s.judge(ClipAfterStep, loop)

    def test_second_network_steps_first(self, s):
        other = s.model(s.layer("torch.nn.Linear"))
        second = s.optimizer(other, name="second")
        loop = s.loop(
            s.zero(s.opt), s.zero(second), s.backward(), s.step(s.opt),
            s.clip(other), s.step(second),
        )  # fmt: skip
        assert not s.judge(ClipAfterStep, loop)


class TestClipBeforeBackward:
    def test_reported_at_the_clip(self, s):
        clip = s.clip(s.net)
        loop = s.loop(s.zero(s.opt), clip, s.backward(), s.step(s.opt))
        (found,) = s.judge(ClipBeforeBackward, loop)
        assert found.location == clip.location

    def test_clear_at_the_end_of_the_iteration(self, s):
        loop = s.loop(s.clip(s.net), s.backward(), s.step(s.opt), s.zero(s.opt))
        assert s.judge(ClipBeforeBackward, loop)

    def test_accumulated_gradients(self, s):
        loop = s.loop(s.zero(s.opt), s.backward(), s.clip(s.net), s.backward(), s.step(s.opt))
        assert not s.judge(ClipBeforeBackward, loop)

    def test_right_place(self, s):
        loop = s.loop(s.zero(s.opt), s.backward(), s.clip(s.net), s.step(s.opt))
        assert not s.judge(ClipBeforeBackward, loop)

    def test_second_clip_in_the_right_place(self, s):
        loop = s.loop(s.zero(s.opt), s.clip(s.net), s.backward(), s.clip(s.net), s.step(s.opt))
        assert not s.judge(ClipBeforeBackward, loop)

    def test_weight_clipping(self, s):
        weights = s.event(EventKind.PARAMETER_WRITE)
        loop = s.loop(s.zero(s.opt), weights, s.backward(), s.step(s.opt))
        assert not s.judge(ClipBeforeBackward, loop)


class TestBackwardMissing:
    def test_reported_at_the_step(self, s):
        step = s.step(s.opt)
        (found,) = s.judge(BackwardMissing, s.loop(s.forward(s.net), step))
        assert found.location == step.location

    def test_backward_anywhere_in_the_entry(self, s):
        assert not s.judge(
            BackwardMissing, s.loop(s.backward()), s.loop(s.forward(s.net), s.step(s.opt))
        )

    @pytest.mark.parametrize(
        "kind", [EventKind.GRAD_WRITE, EventKind.UNKNOWN_CALL, EventKind.PARAMETER_WRITE]
    )
    def test_other_sources_of_gradients(self, s, kind):
        loop = s.loop(s.forward(s.net), s.event(kind), s.step(s.opt))
        assert not s.judge(BackwardMissing, loop)

    def test_autograd_grad(self, s):
        loop = s.loop(s.forward(s.net), s.step(s.opt))
        s.calls.append(Call(name="torch.autograd.grad", location=loop.location))
        assert not s.judge(BackwardMissing, loop)

    def test_closure(self, s):
        loop = s.loop(s.forward(s.net), s.step(s.opt, flags=("closure",)))
        assert not s.judge(BackwardMissing, loop)

    def test_step_of_an_environment(self, s):
        environment = s.add(ObjectKind.LIBRARY, "gym.Env")
        assert not s.judge(BackwardMissing, s.loop(s.forward(s.net), s.step(environment)))

    def test_loop_without_forward(self, s):
        assert not s.judge(BackwardMissing, s.loop(s.step(s.opt)))
