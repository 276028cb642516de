"""What the probe says about small scripts of every usual style, each run unmodified."""

import functools
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from convlint.launch import run_probe

SCRIPTS = Path(__file__).parent / "scripts"


@functools.cache
def probed(name, **options):
    """Observations of one script, probed once for all tests of this file."""
    return run_probe(str(SCRIPTS / name), **{"steps": 12, "device": "cpu", **options})


def line_of(name, text):
    """The number of the first line of a script that holds ``text``."""
    lines = (SCRIPTS / name).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def test_hold_sees_batches_at_the_initial_parameters_and_then_runs():
    seen = probed("digits_flat.py")
    assert (seen.stopped, seen.held, seen.steps, seen.backwards) == ("steps", 8, 12, 20)
    assert seen.skipped == ()
    assert seen.batches is not None
    assert (seen.batches.count, seen.batches.size, seen.batches.identical) == (8, 64, 0)
    series = seen.series
    assert {len(column) for column in vars(series).values()} == {12}
    assert all(value is not None and value > 0 for value in (*series.loss, *series.gradient_norm))
    assert series.learning_rate == (0.01,) * 10 + (0.005,) * 2


@pytest.mark.parametrize(
    ("name", "steps", "lines"), [("digits_flat.py", 40, 40), ("stateful_model.py", 20, 19)]
)
def test_without_a_hold_the_script_prints_the_same_bits(tmp_path, capfd, name, steps, lines):
    script = str(SCRIPTS / name)
    plain = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    # Of the digits past the end of an epoch, so that the evaluation is compared too.
    seen = run_probe(script, steps=steps, hold=0, device="cpu", script_output="stderr")
    printed = capfd.readouterr().err.splitlines()
    assert (seen.held, seen.steps, len(printed)) == (0, steps, lines)
    assert {c.phase for c in seen.curvature} == {"start", "end"}
    assert printed == plain.stdout.splitlines()[: len(printed)]


def test_hessian_products_agree_with_differences_of_the_replayed_loss():
    curvatures = probed("gradient_check.py").curvature
    assert [c.phase for c in curvatures] == ["start", "end"]
    for curvature in curvatures:
        assert curvature.consistency is not None
        assert curvature.consistency < 1e-2


def test_a_forward_pass_that_remembers_is_not_replayed():
    assert {c.consistency for c in probed("stateful_model.py").curvature} == {None}


def test_a_script_that_ends_by_itself_is_finished():
    seen = probed("turns_nan.py", steps=100)
    assert (seen.stopped, seen.steps) == ("finished", 22)


def test_places_are_the_users_lines():
    name = "trainer_class.py"
    seen = probed(name)
    lines = {p.name: p.place.line for p in seen.parameters if p.place is not None}
    assert lines["enter.weight"] == line_of(name, "self.enter = ")
    assert lines["blocks.3.inner.weight"] == line_of(name, "self.inner = ")
    assert seen.optimizers[0].place.line == line_of(name, "torch.optim.SGD")
    assert seen.schedules[0].place.line == line_of(name, "CosineAnnealingLR")
    assert seen.losses[0].place.line == line_of(name, "F.mse_loss")
    assert seen.losses[0].place.function == "step"
    assert {place.path for place in (seen.losses[0].place,)} == {str(SCRIPTS / name)}


def test_functional_activations_are_seen_in_order_of_depth():
    seen = probed("trainer_class.py")
    names = [a.module for a in sorted(seen.activations, key=lambda a: a.depth)]
    assert names == ["Net.tanh", *(f"blocks.{i}.relu" for i in range(4))]


def test_order_of_events_and_clipping():
    seen = probed("trainer_class.py")
    (optimizer,) = seen.optimizers
    assert optimizer.events[:5] == ("zero_grad", "backward", "clip", "step", "zero_grad")
    assert (optimizer.clipped, optimizer.accumulation) == (True, 1.0)
    assert (optimizer.carried_gradient_steps, optimizer.compared_steps) == (0, 19)
    # Clipped to norm 1 before the norm is read.
    assert max(seen.series.gradient_norm) == pytest.approx(1.0, rel=1e-4)


def test_schedule_per_epoch_is_stepped_to_the_planned_end():
    (schedule,) = probed("trainer_class.py").schedules
    assert (schedule.cls, schedule.per) == ("CosineAnnealingLR", "epoch")
    assert (schedule.calls, schedule.planned) == (30, True)
    assert schedule.learning_rates[0] == pytest.approx(0.01)
    assert schedule.learning_rates[-1] == pytest.approx(0.0, abs=1e-12)


def test_arguments_reach_the_script():
    seen = run_probe(
        str(SCRIPTS / "trainer_class.py"),
        ["--epochs", "7", "--lr", "0.002"],
        steps=12,
        curvature=False,
        device="cpu",
    )
    assert seen.arguments == ("--epochs", "7", "--lr", "0.002")
    assert seen.schedules[0].calls == 7
    assert seen.optimizers[0].groups[0].learning_rate == 0.002
    assert seen.curvature == ()


def test_schedule_per_step_uses_the_length_of_the_loader():
    (schedule,) = probed("digits_flat.py").schedules
    # 1797 digits in batches of 64 are 29 steps per epoch, three epochs long.
    assert (schedule.per, schedule.calls, schedule.planned) == ("step", 87, True)


def test_the_planned_length_and_the_peak_of_memory_are_read():
    seen = probed("digits_flat.py")
    assert (seen.plan.epochs, seen.plan.batches_per_epoch) == (3, 29)
    assert seen.peak_memory.host is not None
    # An interpreter with torch holds more than a hundred megabytes, and no test machine a terabyte.
    assert 1e8 < seen.peak_memory.host < 1e12
    assert seen.peak_memory.device is None


def test_gradients_are_followed_by_module_and_step():
    seen = probed("digits_flat.py")
    history = seen.gradient_history
    assert history is not None and len(history.steps) == seen.steps
    assert all(value is None or value > 0 for row in history.rms for value in row)


def test_checkpoints_and_logs_are_held_back_and_can_be_read_back(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen = run_probe(str(SCRIPTS / "trainer_class.py"), steps=25, hold=0, curvature=False)
    assert seen.error == ""
    assert set(seen.writes_held_back) == {
        "runs",
        str(Path("runs") / "last.pt"),
        str(Path("runs") / "log.txt"),
    }
    assert list(tmp_path.iterdir()) == []


def test_allowed_writes_are_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen = run_probe(
        str(SCRIPTS / "trainer_class.py"), steps=25, hold=0, curvature=False, allow_writes=True
    )
    assert seen.writes_held_back == ()
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"last.pt", "log.txt"}


def test_lbfgs_is_recognised_and_not_withheld():
    seen = probed("lbfgs_closure.py")
    (optimizer,) = seen.optimizers
    assert (optimizer.cls, optimizer.uses_closure) == ("LBFGS", True)
    assert (seen.held, seen.steps) == (0, 12)
    assert {"LBFGS", "full batch"} <= set(seen.recognised)
    reasons = {s.measurement: s.reason for s in seen.skipped}
    assert set(reasons) == {"hold", "gradient noise", "overfit one batch", "learning-rate range"}
    assert "closure" in reasons["overfit one batch"]
    assert seen.series.loss[-1] < 1e-3 * seen.series.loss[0]


def test_two_optimizers_in_turn_are_kept_apart():
    seen = probed("gan.py")
    discriminator, generator = seen.optimizers
    assert "several optimizers" in seen.recognised
    assert (discriminator.accumulation, generator.accumulation) == (2.0, 1.0)
    # The generator's loss fills the discriminator's gradients, which are cleared afterwards.
    assert discriminator.carried_gradient_steps == generator.carried_gradient_steps == 0
    assert len({p.name for p in seen.parameters}) == 8
    assert all(p.optimized and p.registered and p.reached for p in seen.parameters)
    assert {i.model for i in seen.inputs} == {"Sequential", "Sequential2"}


def test_accumulation_is_not_carrying():
    seen = probed("accumulation_bf16.py")
    (optimizer,) = seen.optimizers
    assert optimizer.accumulation == 4.0
    assert optimizer.carried_gradient_steps == 0
    assert optimizer.compared_steps > 0
    assert "gradient accumulation" in seen.recognised
    # Four quarters of a cross entropy over three classes.
    assert seen.series.loss[0] == pytest.approx(1.0986, rel=0.15)
    assert seen.losses[0].initial.value == pytest.approx(1.0986, rel=0.15)
    # 1/4 of the loss is back-propagated; its gradients are told apart from the sum in .grad.
    assert len({p.batches for p in seen.parameters}) == 1


def test_gradients_that_are_never_cleared_are_counted():
    seen = probed("never_cleared.py")
    (optimizer,) = seen.optimizers
    # All comparisons but the first real step's, which starts from cleared gradients.
    assert optimizer.carried_gradient_steps == optimizer.compared_steps - 1 > 15


def test_training_in_eval_mode_is_seen():
    (dropout,) = probed("never_cleared.py").modes
    assert (dropout.cls, dropout.eval_share, dropout.trainable) == ("Dropout", 1.0, True)
    assert all(mode.eval_share == 0.0 for mode in probed("digits_flat.py").modes)


def long_epoch():
    return probed("project/train.py", hold=2, steps=70)


def test_eval_mode_left_on_after_a_long_epoch_is_seen():
    (dropout,) = long_epoch().modes
    # 50 batches per epoch; the second epoch trains in eval mode.
    assert (dropout.forwards, dropout.eval_share) == (72, pytest.approx(22 / 72))


def test_tensors_passed_by_keyword_are_inputs():
    assert [(i.name, i.kind) for i in long_epoch().inputs] == [
        ("features", "tabular"),
        ("targets", "tokens"),
    ]


def test_a_share_of_the_models_own_loss_is_replayed():
    for curvature in long_epoch().curvature:
        assert curvature.consistency is not None


def test_the_sources_that_ran_are_listed_and_no_others():
    project = SCRIPTS / "project"
    assert set(long_epoch().loaded_files) == {
        str(project / "network.py"),
        str(project / "train.py"),
    }


def test_what_a_crash_kept_from_being_tried_is_told(tmp_path):
    script = tmp_path / "crashes.py"
    script.write_text(
        "import torch\n"
        "model = torch.nn.Linear(4, 2)\n"
        "optimizer = torch.optim.SGD(model.parameters(), lr=0.1)\n"
        "for step in range(9):\n"
        "    optimizer.zero_grad()\n"
        "    model(torch.randn(8, 4)).square().mean().backward()\n"
        "    optimizer.step()\n"
        "raise ValueError('done')\n"
    )
    seen = run_probe(str(script), hold=2, steps=50, device="cpu")
    assert seen.stopped == "crashed"
    reasons = {s.measurement: s.reason for s in seen.skipped}
    assert reasons["overfit one batch"] == "the script crashed"
    assert reasons["learning-rate range"] == "the script crashed"


def test_programs_the_script_starts_are_told():
    reasons = {s.measurement: s.reason for s in long_epoch().skipped}
    assert sys.executable in reasons["writes of other programs"]


@pytest.mark.parametrize(
    ("kind", "full_batch"), [("copies", True), ("one-batch-loader", True), ("new-iterator", False)]
)
def test_full_batch_training_is_told_from_one_batch_again_and_again(kind, full_batch):
    seen = run_probe(
        str(SCRIPTS / "same_batches.py"), [kind], steps=1, hold=3, curvature=False, device="cpu"
    )
    assert (seen.batches.identical, seen.batches.compared) == (3, 3)
    assert ("full batch" in seen.recognised) == full_batch


def test_parameters_in_no_optimizer_are_seen():
    seen = probed("never_cleared.py")
    outside = {p.name for p in seen.parameters if not p.optimized}
    assert outside == {"Linear.weight", "Linear.bias"}


def test_scaled_losses_are_reported_unscaled():
    seen = probed("gradscaler.py")
    assert "GradScaler" in seen.recognised
    assert seen.optimizers[0].events[:5] == ("zero_grad", "backward", "unscale", "clip", "step")
    assert max(seen.series.loss) < 100.0
    # Of the order of the unscaled norm over 385 elements, not 1024 times that.
    assert max(p.grad_rms for p in seen.parameters) < 10.0
    assert seen.non_finite == ()
    assert max(seen.series.gradient_norm) <= 10.0 * (1 + 1e-5)


def test_modules_in_a_plain_list_are_unregistered_leaves():
    seen = probed("plain_list.py")
    strangers = {p.name for p in seen.parameters if not p.registered}
    assert strangers == {"Linear.weight", "Linear.bias"}
    assert all(
        p.place.line == line_of("plain_list.py", "self.layers = [")
        for p in seen.parameters
        if not p.registered
    )


def test_hand_written_updates_are_stopped_by_their_backward_passes():
    seen = probed("manual_sgd.py", hold=2)
    assert (seen.stopped, seen.held, seen.steps, seen.backwards) == ("steps", 1, 12, 13)
    assert (seen.optimizers, seen.recognised) == ((), ("updates by hand",))
    assert len(seen.series.loss) == 12
    assert seen.series.loss[-1] < 0.2 * seen.series.loss[0]
    # The parameters moved after the first batch, so only the first is a sample of the start.
    assert seen.losses[0].calls == 1


def test_evaluation_without_no_grad_does_not_count_as_training_in_eval_mode():
    (dropout,) = probed("careless_evaluation.py").modes
    assert dropout.eval_share == 0.0


def test_the_loss_series_is_classified():
    convergence = probed("digits_flat.py", steps=40).convergence
    assert convergence is not None
    assert (convergence.kind, convergence.steps) == ("converging", 40)


def test_nan_in_the_loss_is_found_with_its_step():
    seen = probed("turns_nan.py", hold=0)
    found = {n.what: n for n in seen.non_finite}
    assert (found["loss"].kind, found["loss"].phase, found["loss"].step) == ("nan", "run", 5)
    assert seen.series.loss[5] is None
    assert seen.series.loss[4] is not None


def test_progress_is_told_in_order(tmp_path):
    told = []
    run_probe(
        str(SCRIPTS / "gradscaler.py"),
        steps=3,
        hold=2,
        curvature=False,
        progress=lambda *progress: told.append(progress),
    )
    assert told == [("hold", 1, 2), ("hold", 2, 2), ("run", 1, 3), ("run", 2, 3), ("run", 3, 3)]


def test_what_a_scaler_multiplied_is_differentiated_in_single_precision():
    """float16 times 65,536 overflows in a second derivative; its curvature is that of float32."""
    half, single = (
        run_probe(
            str(SCRIPTS / "scaled_half_precision.py"), [kind], hold=2, steps=2, budget=40.0,
            device="cpu",
        )
        for kind in ("half", "single")
    )  # fmt: skip
    assert half.curvature[0].method == "double backward on a re-run in single precision"
    assert single.curvature[0].method == "double backward on the loss"
    assert half.curvature[0].largest.value == pytest.approx(
        single.curvature[0].largest.value, rel=0.01
    )


def test_a_default_device_of_the_script_is_not_the_probes(tmp_path):
    """What the probe makes for itself must not land on a device the script chose for its own."""
    training = (
        "from torch import nn\n"
        "torch.manual_seed(0)\n"
        "model = nn.Sequential(nn.Linear(6, 16, device='cpu'), nn.Tanh(), nn.Linear(16, 3, device='cpu'))\n"
        "optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)\n"
        "x = torch.randn(640, 6, device='cpu')\n"
        "for step in range(60):\n"
        "    batch = x[step % 20 * 32:][:32]\n"
        "    loss = nn.functional.cross_entropy(model(batch), batch.argmax(dim=1).clamp(max=2))\n"
        "    optimizer.zero_grad()\n"
        "    loss.backward()\n"
        "    optimizer.step()\n"
    )
    seen = []
    for name, line in (("plain", ""), ("elsewhere", "torch.set_default_device('meta')\n")):
        script = tmp_path / f"{name}.py"
        script.write_text("import torch\n" + line + training)
        seen.append(run_probe(str(script), tier="standard", hold=4, steps=30, device="cpu"))
    plain, elsewhere = seen
    assert elsewhere.skipped == plain.skipped
    assert elsewhere.series.loss == plain.series.loss
    assert replace(elsewhere.gradient_noise, place=None) == replace(
        plain.gradient_noise, place=None
    )
    assert elsewhere.curvature[0].largest == plain.curvature[0].largest
    assert elsewhere.overfit is not None
