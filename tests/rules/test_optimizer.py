"""Rules over optimizers: their learning rates and their life."""

from __future__ import annotations

import pytest
from builders import ProgramBuilder, at, literal

from convlint.findings import Severity
from convlint.program.facts import EventKind, ObjectKind, Origin, Value
from convlint.rules.optimizer.adaptive_lr_high import AdaptiveLrHigh
from convlint.rules.optimizer.lr_negligible import LrNegligible
from convlint.rules.optimizer.never_stepped import NeverStepped
from convlint.rules.optimizer.optimizer_recreated import OptimizerRecreated
from convlint.rules.optimizer.sgd_lr_high import SgdLrHigh


class Script(ProgramBuilder):
    """A two-layer model and its optimizer."""

    def __init__(self, cls: str = "torch.optim.Adam", context=(), escaped=False, **args) -> None:
        super().__init__()
        self.net = self.model(self.layer("torch.nn.Linear"), self.layer("torch.nn.Linear"))
        self.opt = self.optimizer(self.net, cls, args=args, context=context, escaped=escaped)

    def batches(self, *more):
        return self.loop(self.zero(self.opt), self.backward(), self.step(self.opt), *more)

    def judge(self, rule, *body, **fields):
        return list(rule().static(self.program(*body, **fields)))


class TestAdaptiveLrHigh:
    @pytest.mark.parametrize("cls", ["Adam", "AdamW", "NAdam", "RAdam", "RMSprop"])
    def test_above_a_hundredth(self, cls):
        s = Script(f"torch.optim.{cls}", lr=literal(0.05, line=7))
        (found,) = s.judge(AdaptiveLrHigh)
        assert found.location == at(7)
        assert found.severity is Severity.WARNING

    def test_a_tenth_is_an_error(self):
        (found,) = Script(lr=literal(0.1)).judge(AdaptiveLrHigh)
        assert found.severity is Severity.ERROR

    def test_origin_is_cited(self):
        origin = Origin("argparse default", "default of --lr, line 12", at(12))
        value = Value(candidates=(0.1,), origin=origin, location=at(30))
        (found,) = Script(lr=value).judge(AdaptiveLrHigh)
        assert "default of --lr, line 12" in found.message
        assert [r.location for r in found.related] == [at(12)]

    def test_rate_of_a_group(self):
        group = Value(keys=("params", "lr"), items=(Value(), literal(0.5, line=9)))
        s = Script(params=Value(items=(group,)), lr=literal(1e-3))
        (found,) = s.judge(AdaptiveLrHigh)
        assert found.location == at(9)

    @pytest.mark.parametrize("rate", [1e-2, 1e-3])
    def test_usual_rates(self, rate):
        assert not Script(lr=literal(rate)).judge(AdaptiveLrHigh)

    @pytest.mark.parametrize("cls", ["Adadelta", "SGD", "Adagrad", "LBFGS"])
    def test_other_optimizers_have_other_limits(self, cls):
        assert not Script(f"torch.optim.{cls}", lr=literal(1.0)).judge(AdaptiveLrHigh)

    def test_unknown_rate(self):
        assert not Script(lr=Value()).judge(AdaptiveLrHigh)

    def test_tests(self):
        assert not Script(lr=literal(0.5)).judge(AdaptiveLrHigh, role="test")

    @pytest.mark.parametrize("cls", ["OneCycleLR", "LambdaLR", "SequentialLR", "CyclicLR"])
    def test_schedule_that_owns_the_rate(self, cls):
        s = Script(lr=literal(0.5))
        s.scheduler(s.opt, f"torch.optim.lr_scheduler.{cls}")
        assert not s.judge(AdaptiveLrHigh)

    def test_decay_does_not_excuse_the_start(self):
        s = Script(lr=literal(0.5))
        s.scheduler(s.opt, "torch.optim.lr_scheduler.StepLR")
        assert s.judge(AdaptiveLrHigh)

    def test_rate_written_by_the_script(self):
        s = Script(lr=literal(0.5))
        assert not s.judge(AdaptiveLrHigh, s.loop(s.event(EventKind.LR_WRITE)))

    def test_latent_optimisation(self):
        s = Script()
        s.optimizer((), "torch.optim.Adam", args={"lr": literal(0.1)})
        s.optimizer(None, "torch.optim.Adam", args={"lr": literal(0.1)})
        assert not s.judge(AdaptiveLrHigh)

    def test_linear_probe(self):
        s = Script()
        probe = s.layer("torch.nn.Linear", in_features=literal(8))
        s.optimizer(probe, "torch.optim.Adam", args={"lr": literal(0.05)})
        assert not s.judge(AdaptiveLrHigh)

    def test_reinforcement_learning(self):
        s = Script(lr=literal(0.03))
        assert not s.judge(AdaptiveLrHigh, imports=("gymnasium", "torch"))


class TestSgdLrHigh:
    def test_one(self):
        assert Script("torch.optim.SGD", lr=literal(1.0)).judge(SgdLrHigh)

    def test_momentum_lowers_the_limit(self):
        s = Script("torch.optim.SGD", lr=literal(0.5), momentum=literal(0.9))
        assert s.judge(SgdLrHigh)
        assert not Script("torch.optim.SGD", lr=literal(0.5)).judge(SgdLrHigh)

    def test_clipped_language_model(self):
        s = Script("torch.optim.SGD", lr=literal(20.0))
        assert not s.judge(SgdLrHigh, s.loop(s.backward(), s.clip(s.net), s.step(s.opt)))

    @pytest.mark.parametrize("cls", ["RNN", "MultiheadAttention"])
    def test_one_recurrent_or_attention_layer_is_a_network(self, cls):
        s = Script()
        layer = s.model(s.layer(f"torch.nn.{cls}"))
        s.optimizer(layer, "torch.optim.SGD", args={"lr": literal(1.0)})
        assert s.judge(SgdLrHigh)

    def test_imagenet(self):
        s = Script("torch.optim.SGD", lr=literal(0.1), momentum=literal(0.9))
        assert not s.judge(SgdLrHigh)


class TestLrNegligible:
    @pytest.mark.parametrize("rate", [0.0, 1e-9, 1e-7])
    def test_reported(self, rate):
        assert Script(lr=literal(rate)).judge(LrNegligible)

    def test_set_later(self):
        s = Script(lr=literal(0.0))
        assert not s.judge(LrNegligible, s.loop(s.event(EventKind.LR_WRITE)))

    def test_one_frozen_group(self):
        group = Value(keys=("params", "lr"), items=(Value(), literal(0.0)))
        rest = Value(keys=("params",), items=(Value(),))
        s = Script(params=Value(items=(group, rest)), lr=literal(1e-3))
        assert not s.judge(LrNegligible)

    def test_fine_tuning_rate(self):
        assert not Script(lr=literal(1e-6)).judge(LrNegligible)


class TestOptimizerRecreated:
    def test_built_in_the_loop_that_steps(self):
        s = Script(context=("loop", "loop"))
        (found,) = s.judge(OptimizerRecreated, s.loop(s.batches()))
        assert found.location == s.objects[s.opt].location

    def test_built_per_fold(self):
        s = Script(context=("loop",))
        assert not s.judge(OptimizerRecreated, s.loop(s.loop(s.batches())))

    def test_built_once(self):
        s = Script()
        assert not s.judge(OptimizerRecreated, s.loop(s.batches()))

    def test_built_at_one_chosen_step(self):
        s = Script(context=("loop", "branch", "loop"))
        assert not s.judge(OptimizerRecreated, s.loop(s.batches()))


class TestNeverStepped:
    def test_reported_at_the_constructor(self):
        s = Script()
        (found,) = s.judge(NeverStepped, s.loop(s.zero(s.opt), s.backward()))
        assert found.location == s.objects[s.opt].location

    def test_stepped(self):
        s = Script()
        assert not s.judge(NeverStepped, s.loop(s.batches()))

    def test_stepped_by_a_scaler(self):
        s = Script()
        assert not s.judge(NeverStepped, s.loop(s.backward(), s.scaler_step(None, s.opt)))

    def test_something_unknown_steps(self):
        s = Script()
        assert not s.judge(NeverStepped, s.loop(s.backward(), s.step(None)))

    def test_escaped(self):
        s = Script(escaped=True)
        assert not s.judge(NeverStepped, s.loop(s.backward()))

    def test_prepared_by_a_framework(self):
        s = Script()
        s.add(ObjectKind.TRAINER, "x.Trainer", args={"optimizer": Value(object=s.opt)})
        assert not s.judge(NeverStepped, s.loop(s.backward()))

    def test_update_written_by_hand(self):
        s = Script()
        update = s.event(EventKind.PARAMETER_WRITE)
        assert not s.judge(NeverStepped, s.loop(s.backward(), update))

    def test_no_training_here(self):
        assert not Script().judge(NeverStepped)
