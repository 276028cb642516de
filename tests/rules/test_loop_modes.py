"""Rules over train and eval mode, totals that keep graphs, and clipping of recurrent models."""

from __future__ import annotations

import pytest
from builders import ProgramBuilder, branch, literal

from convlint.findings import Confidence, Severity
from convlint.program.facts import Call, EventKind, ObjectKind
from convlint.rules.loop.eval_before_training import EvalBeforeTraining
from convlint.rules.loop.eval_mode_in_training import EvalModeInTraining
from convlint.rules.loop.loss_graph_accumulated import LossGraphAccumulated
from convlint.rules.loop.missing_clipping import MissingClipping


class Script(ProgramBuilder):
    """A model with dropout, its optimizer, and the usual events."""

    def __init__(self, *layers: str) -> None:
        super().__init__()
        self.parts = [self.layer(cls) for cls in layers or ("torch.nn.Linear", "torch.nn.Dropout")]
        self.net = self.model(*self.parts)
        self.opt = self.optimizer(self.net)

    def mode(self, kind: str, target: int | None = None):
        events = {"train": EventKind.TRAIN_MODE, "eval": EventKind.EVAL_MODE}
        return self.event(events[kind], self.net if target is None else target)

    def batches(self, *more):
        return self.loop(
            self.zero(self.opt), self.forward(self.net), self.backward(), self.step(self.opt), *more
        )

    def judge(self, rule, *body, **fields):
        return list(rule().static(self.program(*body, **fields)))


@pytest.fixture
def s() -> Script:
    return Script()


class TestEvalModeInTraining:
    def test_eval_at_the_end_of_the_epoch(self, s):
        switch = s.mode("eval")
        (found,) = s.judge(
            EvalModeInTraining, s.mode("train"), s.loop(s.batches(), switch, s.forward(s.net))
        )
        assert found.location == switch.location
        assert found.severity is Severity.ERROR

    def test_eval_inside_the_batch_loop(self, s):
        evaluation = branch("i % 100 == 0", s.mode("eval"), s.forward(s.net), modulo=True)
        assert s.judge(EvalModeInTraining, s.loop(s.mode("train"), s.batches(evaluation)))

    def test_train_at_the_top_of_the_epoch(self, s):
        loop = s.loop(s.mode("train"), s.batches(), s.mode("eval"))
        assert not s.judge(EvalModeInTraining, loop)

    def test_mode_restored_after_evaluation(self, s):
        evaluation = branch("i % 9 == 0", s.mode("eval"), s.mode("train"), modulo=True)
        assert not s.judge(EvalModeInTraining, s.loop(s.batches(evaluation)))

    def test_unresolved_train_call(self, s):
        loop = s.loop(s.event(EventKind.TRAIN_MODE), s.batches(), s.mode("eval"))
        assert not s.judge(EvalModeInTraining, loop)

    def test_phases_in_one_loop(self, s):
        phase = branch("phase == 'train'", s.mode("train"), otherwise=(s.mode("eval"),))
        batches = s.loop(s.forward(s.net), branch("phase == 'train'", s.backward(), s.step(s.opt)))
        assert not s.judge(EvalModeInTraining, s.loop(s.loop(phase, batches)))

    def test_shared_function_with_another_test_for_the_step(self, s):
        mode = branch("training", s.mode("train"), otherwise=(s.mode("eval"),))
        batches = s.loop(
            s.forward(s.net), branch("optimizer is not None", s.backward(), s.step(s.opt))
        )
        assert not s.judge(EvalModeInTraining, s.loop(mode, batches))

    def test_evaluation_in_the_last_epoch_only(self, s):
        loop = s.loop(s.batches(), branch("epoch == epochs - 1", s.mode("eval")))
        assert not s.judge(EvalModeInTraining, loop)

    def test_evaluation_that_leaves_the_loop(self, s):
        loop = s.loop(s.batches(), branch("done", s.mode("eval"), ends="break"))
        assert not s.judge(EvalModeInTraining, loop)

    def test_another_model_in_eval_mode(self, s):
        average = s.model(s.layer("torch.nn.Dropout"), name="ema")
        assert not s.judge(EvalModeInTraining, s.loop(s.batches(), s.mode("eval", average)))

    def test_a_part_frozen_in_eval_mode(self, s):
        assert not s.judge(EvalModeInTraining, s.loop(s.batches(), s.mode("eval", s.parts[1])))

    def test_deliberate_freeze(self, s):
        frozen = branch("args.freeze_bn", s.mode("eval"))
        assert not s.judge(EvalModeInTraining, s.loop(s.batches(), frozen))

    def test_unread_code_may_call_train(self, s):
        call = s.event(EventKind.UNKNOWN_CALL, escapes=(s.net,))
        assert not s.judge(EvalModeInTraining, s.loop(call, s.batches(), s.mode("eval")))

    def test_harmless_model_is_information(self):
        s = Script("torch.nn.Linear", "torch.nn.ReLU")
        (found,) = s.judge(EvalModeInTraining, s.loop(s.batches(), s.mode("eval")))
        assert found.severity is Severity.INFO

    def test_unknown_model_is_a_warning(self, s):
        net = s.add(ObjectKind.SYMBOL, "", names=("model",))
        opt = s.optimizer((net,))
        batches = s.loop(s.forward(net), s.backward(), s.step(opt))
        (found,) = s.judge(EvalModeInTraining, s.loop(batches, s.mode("eval", net)))
        assert found.severity is Severity.WARNING

    def test_dropout_of_rate_zero_is_harmless(self, s):
        quiet = s.model(s.layer("torch.nn.Dropout", p=literal(0.0)))
        opt = s.optimizer(quiet)
        batches = s.loop(s.forward(quiet), s.backward(), s.step(opt))
        (found,) = s.judge(EvalModeInTraining, s.loop(batches, s.mode("eval", quiet)))
        assert found.severity is Severity.INFO


class TestEvalBeforeTraining:
    def test_eval_before_the_loop(self, s):
        switch = s.mode("eval")
        (found,) = s.judge(EvalBeforeTraining, switch, s.loop(s.batches()))
        assert found.location == switch.location
        assert found.confidence is Confidence.HIGH

    def test_train_in_the_loop(self, s):
        loop = s.loop(s.mode("train"), s.batches())
        assert not s.judge(EvalBeforeTraining, s.mode("eval"), loop)

    def test_frozen_teacher(self, s):
        teacher = s.model(s.layer("torch.nn.Dropout"), name="teacher")
        loop = s.loop(s.forward(teacher), s.batches())
        assert not s.judge(EvalBeforeTraining, s.mode("eval", teacher), loop)

    def test_evaluate_only_branch(self, s):
        only = branch("args.evaluate", s.mode("eval"), ends="return")
        assert not s.judge(EvalBeforeTraining, only, s.loop(s.batches()))

    def test_model_without_mode_sensitive_layers(self):
        s = Script("torch.nn.Linear")
        assert not s.judge(EvalBeforeTraining, s.mode("eval"), s.loop(s.batches()))

    def test_eval_after_training(self, s):
        assert not s.judge(EvalBeforeTraining, s.loop(s.batches()), s.mode("eval"))


class TestLossGraphAccumulated:
    def total(self, s, taken_in, back_propagated, *, first=False, **fields):
        total = s.event(EventKind.ACCUMULATE, flow=taken_in, **fields)
        backward = s.backward(flow=back_propagated)
        events = (total, backward) if first else (backward, total)
        return total, s.loop(*events, s.step(s.opt))

    def test_the_loss_itself(self, s):
        loss = s.flow("cross_entropy")
        total, loop = self.total(s, loss, loss)
        (found,) = s.judge(LossGraphAccumulated, loop)
        assert found.location == total.location

    def test_taken_in_before_the_backward(self, s):
        loss = s.flow("cross_entropy")
        assert s.judge(LossGraphAccumulated, self.total(s, loss, loss, first=True)[1])

    def test_weighted_by_the_batch(self, s):
        loss = s.flow("cross_entropy")
        assert s.judge(LossGraphAccumulated, self.total(s, s.flow("mul", loss), loss)[1])

    def test_a_term_of_the_loss(self, s):
        term = s.flow("mse_loss")
        assert s.judge(LossGraphAccumulated, self.total(s, term, s.flow("add", term))[1])

    def test_detached(self, s):
        loss = s.flow("cross_entropy")
        kept = s.flow("detach", loss, detached=True)
        assert not s.judge(LossGraphAccumulated, self.total(s, kept, loss)[1])

    def test_list_of_losses(self, s):
        loss = s.flow("cross_entropy")
        loop = self.total(s, loss, loss, flags=("append",))[1]
        assert not s.judge(LossGraphAccumulated, loop)

    def test_fix_detaches_the_loss_itself_only(self, s):
        loss = s.flow("cross_entropy")
        total, loop = self.total(s, loss, loss)
        (found,) = s.judge(LossGraphAccumulated, loop)
        (edit,) = found.fix.edits
        assert edit.replacement == ".detach()"
        assert edit.location.column == total.location.end_column
        s.entries.clear()
        (weighted,) = s.judge(LossGraphAccumulated, self.total(s, s.flow("mul", loss), loss)[1])
        assert weighted.fix is None

    def test_under_no_grad(self, s):
        loss = s.flow("cross_entropy")
        loop = self.total(s, loss, loss, context=("no_grad",))[1]
        assert not s.judge(LossGraphAccumulated, loop)

    def test_the_sum_is_back_propagated(self, s):
        term = s.flow("cross_entropy")
        loop = self.total(s, term, s.flow("add", term), first=True)[1]
        assert not s.judge(LossGraphAccumulated, loop)

    def test_unknown_value(self, s):
        assert not s.judge(LossGraphAccumulated, self.total(s, None, s.flow("mse_loss"))[1])


class TestMissingClipping:
    @pytest.mark.parametrize("cls", ["LSTM", "GRU", "RNN", "LSTMCell", "GRUCell"])
    def test_recurrent_model_without_clipping(self, cls):
        s = Script("torch.nn.Embedding", f"torch.nn.{cls}", "torch.nn.Linear")
        (found,) = s.judge(MissingClipping, s.loop(s.batches()))
        assert cls in found.message
        assert found.confidence is Confidence.MEDIUM

    def test_feed_forward_model(self, s):
        assert not s.judge(MissingClipping, s.loop(s.batches()))

    @pytest.mark.parametrize("kind", [EventKind.CLIP, EventKind.GRAD_WRITE])
    def test_clipped_in_the_loop(self, kind):
        s = Script("torch.nn.LSTM")
        assert not s.judge(MissingClipping, s.loop(s.batches(s.event(kind))))

    def test_clipped_by_a_hook(self):
        s = Script("torch.nn.LSTM")
        loop = s.loop(s.batches())
        s.calls.append(Call(name="torch.Tensor.register_hook", location=loop.location))
        assert not s.judge(MissingClipping, loop)

    def test_lbfgs(self):
        s = Script("torch.nn.LSTM")
        loop = s.loop(s.forward(s.net), s.backward(), s.step(s.opt, flags=("closure",)))
        assert not s.judge(MissingClipping, loop)

    def test_frozen_recurrent_layer(self):
        s = Script("torch.nn.LSTM", "torch.nn.Linear")
        loop = s.loop(s.batches())
        s.calls.append(
            Call(
                name="torch.nn.Module.requires_grad_",
                location=loop.location,
                receiver=s.parts[0],
                args={"requires_grad": literal(False)},
            )
        )
        assert not s.judge(MissingClipping, loop)

    def test_recurrent_model_that_is_not_trained(self):
        s = Script("torch.nn.LSTM")
        head = s.model(s.layer("torch.nn.Linear"), name="head")
        opt = s.optimizer(head)
        loop = s.loop(s.forward(s.net), s.forward(head), s.backward(), s.step(opt))
        assert not s.judge(MissingClipping, loop)

    def test_optimizer_handed_to_unread_code(self):
        s = Script("torch.nn.LSTM")
        call = s.event(EventKind.UNKNOWN_CALL, escapes=(s.opt,))
        assert not s.judge(MissingClipping, s.loop(s.batches(call)))
