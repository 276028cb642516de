"""``ConvergenceMonitor`` in loops and in the callbacks of three libraries."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
import pytest

import convlint
from convlint.curves.monitor import ConvergenceMonitor


def test_it_is_offered_at_the_top():
    assert convlint.ConvergenceMonitor is ConvergenceMonitor


def test_patience_stops_and_says_why():
    monitor = ConvergenceMonitor(patience=3)
    for metric in (1.0, 0.8, 0.9, 0.85):
        assert not monitor.update(metric=metric)
    assert monitor.update(metric=0.82)
    assert monitor.should_stop.holding == ("no improvement",)
    assert monitor.should_stop.reason == "no improvement in 3 evaluations"
    assert (monitor.best, monitor.best_step) == (0.8, 2)


@pytest.mark.parametrize("seed", range(4))
def test_patience_does_not_end_by_losses_of_batches_that_still_fall(seed):
    random = np.random.default_rng(seed)
    monitor = ConvergenceMonitor(patience=10)
    for step in range(600):
        assert not monitor.update(2.0 * 0.998**step + 0.3 + 0.2 * random.normal())


def test_patience_ends_by_losses_that_rise_or_are_known_to_stand_still():
    monitor = ConvergenceMonitor(patience=3)
    assert [bool(monitor.update(loss)) for loss in (1.0, 0.8, 0.9, 1.0, 1.1)] == [False] * 4 + [
        True
    ]
    random = np.random.default_rng(0)
    monitor = ConvergenceMonitor(patience=10)
    stopped = [
        step for step in range(400) if monitor.update(1.0 + 0.9**step + 1e-3 * random.normal())
    ]
    # 0.9^step is below the noise from step 66 on.
    assert 66 <= stopped[0] <= 120


def test_losses_never_take_the_place_of_a_metric_that_is_to_come():
    monitor = ConvergenceMonitor(patience=2)
    monitor.awaits_metric = True
    assert not any(monitor.update(1.0) for _ in range(10))
    for metric in (1.0, 1.1):
        assert not monitor.update(metric=metric)
    assert monitor.update(metric=1.2)


def test_nothing_stops_before_the_first_update():
    monitor = ConvergenceMonitor(tolerances={"gradient norm": None})
    assert not monitor.should_stop
    assert monitor.should_stop.holding == ()


def test_all_criteria_asked_for_need_an_answer():
    monitor = ConvergenceMonitor(
        tolerances={"loss plateau": None, "gradient norm": None}, combine="all"
    )
    for _ in range(20):
        assert not monitor.update(1.0)
    assert monitor.update(1.0, gradient_norm=0.0)


def test_a_loss_of_several_numbers_is_none():
    with pytest.raises(ValueError, match=r"shape \(2,\); give its mean"):
        ConvergenceMonitor().update(np.ones(2))


def test_losses_that_are_not_finite_stop_any_run():
    monitor = ConvergenceMonitor(patience=None)
    for loss in (1.0, float("nan"), 1.0, float("nan"), float("inf")):
        assert not monitor.update(loss)
    assert monitor.update(float("nan"))
    assert "not finite" in monitor.should_stop.reason
    assert monitor.should_stop.holding == ("diverged",)


def test_gradient_descent_on_a_quadratic_converges_in_all_three_notions():
    monitor = ConvergenceMonitor(
        patience=None,
        tolerances={"loss plateau": None, "gradient norm": None, "parameter change": 1e-6},
        combine="all",
        confirmations=3,
    )
    spectrum, x = np.array([0.1, 1.0]), np.ones(2)
    for _ in range(1000):
        gradient = spectrum * x
        monitor.update(
            0.5 * float(gradient @ x),
            gradient_norm=np.linalg.norm(gradient),
            parameter_change=np.linalg.norm(gradient),
        )
        if monitor.should_stop:
            break
        x = x - gradient
    # 0.1 · 0.9^k <= 1e-6 is decisive: k = 110, and two confirmations more.
    assert monitor.steps == pytest.approx(113, abs=2)
    assert monitor.should_stop.converged.gradient is True
    assert len(monitor.should_stop.holding) == 3


def test_noisy_losses_do_not_stop_a_run_that_still_learns():
    random = np.random.default_rng(0)
    monitor = ConvergenceMonitor(
        patience=None, tolerances={"loss plateau": None, "relative improvement": None}
    )
    for k in range(500):
        loss = 2.0 * 0.999**k * random.gamma(25.0, 0.04)
        assert not monitor.update(loss), k


@pytest.mark.parametrize(
    "arguments",
    [
        {"patience": 0},
        {"patience": 2.5},
        {"min_delta": float("nan")},
        {"confirmations": 1.5},
        {"tolerances": {"gradient norm": -1.0}},
        {"tolerances": ["gradient norm"]},
        {"mode": "best"},
        {"min_delta": -1.0},
        {"confirmations": 0},
        {"combine": "some"},
        {"tolerances": {"loss": 1.0}},
    ],
)
def test_arguments_that_make_no_sense(arguments):
    with pytest.raises(ValueError):
        ConvergenceMonitor(**arguments)


def test_the_best_weights_are_a_copy():
    torch = pytest.importorskip("torch")
    model = torch.nn.Linear(2, 1)
    monitor = ConvergenceMonitor(patience=2, model=model)
    monitor.update(metric=torch.tensor(1.0))
    best = model.weight.detach().clone()
    for metric in (1.5, 1.6):
        with torch.no_grad():
            model.weight += 1.0
        monitor.update(metric=metric)
    assert monitor.should_stop
    assert not torch.equal(model.weight, best)
    assert monitor.restore_best()
    assert torch.equal(model.weight, best)
    model.weight.data += 1.0
    assert torch.equal(monitor.best_weights["weight"], best)


def test_a_model_whose_weights_cannot_be_kept():
    monitor = ConvergenceMonitor(model=object())
    with pytest.raises(TypeError, match="neither state_dict nor get_weights"):
        monitor.update(metric=1.0)
    assert not ConvergenceMonitor().restore_best()


class FakeKerasModel:
    def __init__(self):
        self.weights, self.stop_training = [np.zeros(2)], False

    def get_weights(self):
        return self.weights

    def set_weights(self, weights):
        self.weights = [weight.copy() for weight in weights]


def test_keras(monkeypatch):
    class Callback:
        """As keras.callbacks.Callback: ``set_model`` is called by fit."""

        def set_model(self, model):
            self.model = model

    callbacks = types.ModuleType("keras.callbacks")
    callbacks.Callback = Callback
    monkeypatch.setitem(sys.modules, "keras", types.ModuleType("keras"))
    monkeypatch.setitem(sys.modules, "keras.callbacks", callbacks)
    callback = ConvergenceMonitor(patience=2).keras()
    model = FakeKerasModel()
    callback.set_model(model)
    for epoch, value in enumerate((1.0, 0.5, 0.6, 0.7)):
        model.weights = [np.full(2, float(epoch))]
        callback.on_epoch_end(epoch, {"loss": 0.1, "val_loss": value})
        assert model.stop_training == (epoch == 3)
    callback.on_train_end()
    assert model.weights[0].tolist() == [1.0, 1.0]
    with pytest.warns(UserWarning, match="no 'val_loss' to go by; logged are: loss"):
        callback.on_epoch_end(4, {"loss": 0.1})


def test_transformers():
    pytest.importorskip("transformers")
    from transformers import TrainerCallback, TrainerControl, TrainerState

    torch = pytest.importorskip("torch")
    callback = ConvergenceMonitor(patience=1).transformers()
    assert isinstance(callback, TrainerCallback)
    model, state, control = torch.nn.Linear(1, 1), TrainerState(), TrainerControl()
    callback.on_log(None, state, control, logs={"loss": 1.0, "grad_norm": 0.5})
    callback.on_evaluate(None, state, control, metrics={"eval_loss": 1.0}, model=model)
    assert not control.should_training_stop
    best = model.weight.item()
    model.weight.data += 1.0
    callback.on_evaluate(None, state, control, metrics={"eval_loss": 1.1}, model=model)
    assert control.should_training_stop
    callback.on_train_end(None, state, control, model=model)
    assert model.weight.item() == best


def test_lightning(tmp_path):
    pytest.importorskip("lightning")
    torch = pytest.importorskip("torch")
    import lightning as L

    class Model(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)

        def training_step(self, batch, batch_idx):
            return self.layer(batch[0]).square().mean()

        def validation_step(self, batch, batch_idx):
            # From the third epoch on it gets worse.
            self.log("val_loss", abs(2.0 - self.current_epoch) + 1.0)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.01)

    data = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.randn(8, 2)), batch_size=4
    )
    monitor = ConvergenceMonitor(patience=2)
    trainer = L.Trainer(
        max_epochs=20,
        callbacks=[monitor.lightning()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        default_root_dir=tmp_path,
    )
    model = Model()
    trainer.fit(model, data, data)
    assert trainer.current_epoch == 5
    assert monitor.best == 1.0
    assert torch.equal(model.layer.weight, monitor.best_weights["layer.weight"])


def test_callbacks_wait_for_the_first_evaluation():
    pytest.importorskip("transformers")
    from transformers import TrainerControl, TrainerState

    monitor = ConvergenceMonitor(patience=2)
    callback, state, control = monitor.transformers(), TrainerState(), TrainerControl()
    for loss in (1.0, 1.1, 1.2, 1.3, 1.4):
        callback.on_log(None, state, control, logs={"loss": loss})
    assert not control.should_training_stop


def test_the_documented_loop_stops(capsys):
    pytest.importorskip("torch")
    page = Path(__file__).parents[2] / "docs" / "curves.md"
    program = page.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    exec(compile(program, "curves.md", "exec"), {})
    epoch, _, reason = capsys.readouterr().out.partition(" ")
    assert 20 < int(epoch) < 999
    assert reason.strip() == "no improvement in 5 evaluations"
