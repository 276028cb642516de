"""Frameworks that own the training loop: the probe sees it all and changes no bit of it."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from replayed import compared

from convlint.launch import run_probe

FRAMEWORKS = Path(__file__).parent / "scripts" / "frameworks"
STEPS = 30


def per_framework(*rows):
    """One case per script; all of a framework in one process under --dist loadgroup."""
    return [
        pytest.param(*row, id=row[0], marks=pytest.mark.xdist_group(f"framework-{row[0]}"))
        for row in rows
    ]


@pytest.fixture(autouse=True)
def library(request, monkeypatch, tmp_path):
    """Skip where the framework is not installed; run in a directory of its own."""
    name = request.node.callspec.params["name"]
    module = {"accelerate_digits": "accelerate", "lightning_digits": "lightning"}.get(
        name, "transformers"
    )
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    working = tmp_path / "working"
    working.mkdir()
    monkeypatch.chdir(working)


def losses(lines):
    return [line for line in lines if "loss " in line]


@pytest.mark.parametrize(
    ("name", "per_step", "printed_at_least"),
    per_framework(
        ("accelerate_digits", 2, 59), ("lightning_digits", 1, 30), ("trainer_gpt2", 2, 29)
    ),
)
def test_recording_changes_no_bit_and_the_tapes_replay_the_run(
    tmp_path, name, per_step, printed_at_least
):
    script = FRAMEWORKS / f"{name}.py"
    plain_directory, own = tmp_path / "plain", tmp_path / "own"
    plain_directory.mkdir()
    own.mkdir()
    plain = subprocess.run(
        [sys.executable, script], cwd=plain_directory, capture_output=True, text=True, check=True
    )
    printed, comparison = compared(script, own, steps=STEPS)
    printed = losses(printed)
    assert len(printed) >= printed_at_least
    assert printed == losses(plain.stdout.splitlines())[: len(printed)]
    assert comparison == {
        "stopped": "steps",
        "error": "",
        "backwards": STEPS * per_step,
        "same_losses": STEPS * per_step,
        "same_gradients": STEPS * per_step,
        "refusals": [],
        "steps": STEPS,
        "refusal": "",
        "same_trajectory": True,
        "same_end": True,
    }


@pytest.mark.parametrize(
    ("name", "accumulated", "events", "written"),
    per_framework(
        (
            "accelerate_digits",
            2.0,
            ("backward", "backward", "clip", "step", "scheduler_step", "zero_grad"),
            "accelerate-runs/epoch0/model.safetensors",
        ),
        (
            "lightning_digits",
            1.0,
            ("backward", "clip", "step", "zero_grad"),
            "lightning_logs/version_0/hparams.yaml",
        ),
        (
            "trainer_gpt2",
            2.0,
            ("backward", "backward", "clip", "step", "scheduler_step", "zero_grad"),
            "trainer-out/checkpoint-10/optimizer.pt",
        ),
    ),
)
def test_the_loop_of_the_framework_is_held_measured_and_stopped(name, accumulated, events, written):
    seen = run_probe(
        str(FRAMEWORKS / f"{name}.py"), steps=22, hold=4, device="cpu", curvature=False
    )
    assert (seen.stopped, seen.error, seen.steps) == ("steps", "", 22)
    assert seen.held == 4
    (optimizer,) = seen.optimizers
    assert optimizer.accumulation == accumulated
    start = optimizer.events.index("backward")
    assert optimizer.events[start : start + len(events)] == events
    assert len(seen.series.loss) == 22
    assert all(p.place is not None for p in seen.parameters)
    assert written in seen.writes_held_back
    assert list(Path.cwd().iterdir()) == []
