"""Loops that are not the usual one, and scripts that make trouble: each has a clear result."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from convlint.launch import run_probe

SCRIPTS = Path(__file__).parent / "scripts"


@pytest.fixture(autouse=True)
def directory(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def probed(name, *arguments, **options):
    wanted = {"tier": "quick", "steps": 10, "hold": 2, "budget": 60.0, "device": "cpu", **options}
    return run_probe(str(SCRIPTS / name), arguments, **wanted)


def running(name):
    """Processes with the script's path among their arguments, or children of such ones."""
    listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True)
    return [line for line in listed.stdout.splitlines() if name in line and "pytest" not in line]


def test_compiled_models_run_as_written():
    seen = probed("compiled.py")
    assert (seen.stopped, seen.held, seen.steps) == ("steps", 2, 10)
    assert [loss.function for loss in seen.losses] == ["mse_loss"]
    assert {p.name for p in seen.parameters} >= {"0.weight", "2.bias"}
    assert seen.series.loss[-1] < seen.series.loss[0]


def test_actor_and_critic_are_kept_apart():
    seen = probed("actor_critic.py")
    assert (seen.stopped, seen.held, seen.steps) == ("steps", 3, 10) or seen.held == 2
    critic, actor = seen.optimizers
    assert (critic.accumulation, actor.accumulation) == (1.0, 1.0)
    assert "several optimizers" in seen.recognised
    assert len({p.name for p in seen.parameters}) == 8


def test_no_sample_leaks_in_networks_that_are_evaluated_with_gradients_on():
    seen = probed("two_networks.py", tier="standard", steps=4)
    normalised, plain = sorted(seen.sample_dependence, key=lambda one: one.leak is not None)
    assert (normalised.batch_statistics, normalised.leak) == ("BatchNorm1d", None)
    assert (plain.batch_statistics, plain.leak.value) == ("", 0.0)


def test_losses_of_networks_trained_on_one_line_are_told_apart_to_the_end():
    seen = probed("two_networks.py", steps=60)
    assert len(seen.series.loss) == 60
    assert None not in seen.series.loss
    assert [use.accumulation for use in seen.optimizers] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("autograd", "gradients are taken with torch.autograd.grad at line 29"),
        ("func", "gradients are taken with torch.func.grad at line 33"),
        ("thread", "the script trains in a thread of its own at line 24"),
    ],
)
def test_gradients_without_a_backward_pass_are_named(kind, said):
    seen = probed("functional_gradients.py", kind, steps=1, hold=0)
    assert (seen.stopped, seen.backwards, seen.batches) == ("no-training", 0, None)
    reasons = {s.measurement: s.reason for s in seen.skipped}
    assert reasons["training"].startswith(f"{said} of functional_gradients.py")
    assert not any("Error" in reason for reason in reasons.values())


def test_the_command_says_in_one_line_what_it_cannot_see():
    script = SCRIPTS / "functional_gradients.py"
    command = [sys.executable, "-m", "convlint", "probe", "-q", str(script), "--", "func"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stdout == ""
    (line,) = run.stderr.splitlines()
    assert "nothing could be measured: gradients are taken with torch.func.grad" in line


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_what_was_seen_outlives_an_exit_without_handlers():
    seen = probed("leaves_at_once.py", hold=0)
    assert (seen.stopped, seen.steps) == ("exited", 3)
    assert seen.error == "the script called os._exit with status 3"
    assert seen.error_place.line == 18
    assert len(seen.series.loss) == 3


def test_trouble_ends_with_a_result_and_leaves_nothing(directory):
    seen = probed("unruly.py")
    assert (seen.stopped, seen.error, seen.steps) == ("steps", "", 10)
    assert seen.writes_held_back[0] == "elsewhere"
    assert list(directory.iterdir()) == []
    for _ in range(100):
        if not running("unruly.py"):
            break
        time.sleep(0.05)
    assert running("unruly.py") == []
