"""``audit --interactive``: findings shown one by one, fixed or silenced, and measured anew."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time

import pytest
from observed import observations

from convlint.run_inputs import RunInputs

SEEN = observations(script="a.py", steps=100, seconds=3.0, backwards=108)

TRAIN = """\
import torch

torch.manual_seed(0)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
x = torch.randn(64, 4)
y = x.sum(1, keepdim=True)
for step in range(400):
    loss = torch.nn.functional.mse_loss(model(x), y)
    loss.backward()
    optimizer.step()
"""


@pytest.fixture
def runs(monkeypatch, fixing_rules):
    """Count the runs; somebody sits at the terminal."""
    counted = []

    def run(target, **options):
        counted.append(target)
        options["on_inputs"](RunInputs(sources={}, files={}, directories={}, libraries={}))
        return SEEN

    monkeypatch.setattr("convlint.launch.run_probe", run)
    monkeypatch.setattr("convlint.cli.walking.require_terminal", lambda output_format: None)
    return counted


def answered(convlint, *answers: str):
    text = "".join(f"{answer}\n" for answer in answers)
    return convlint("audit", "a.py", "--interactive", "--no-cache", input=text.encode())


def test_chosen_fix_is_made_and_the_script_measured_again(convlint, write, runs, tmp_path):
    write("a.py", "safe()", "risky()")
    result = answered(convlint, "s", "a")
    assert (tmp_path / "a.py").read_text() == "import torch\nsafe()\ngood = 2\n"
    assert len(runs) == 2
    assert "Finding 1 of 2" in result.stdout
    assert "+good = 2" in result.stdout
    assert "1 finding settled; measuring a.py again" in result.stdout
    assert "gone warning" in result.stdout
    assert "risky-loop (a.py:3)" in result.stdout
    assert result.exit_code == 1


def test_ignored_finding_gets_a_comment_with_its_reason(convlint, write, runs, tmp_path):
    write("a.py", "safe()", "warning()")
    result = answered(convlint, "i", "tried  both", "i", "by design")
    assert (tmp_path / "a.py").read_text() == (
        "import torch\n"
        "safe()  # convlint: ignore[repairable-loop] tried both\n"
        "warning()  # convlint: ignore[odd-loop] by design\n"
    )
    assert len(runs) == 2
    assert result.exit_code == 0


def test_comment_and_fix_in_one_walk(convlint, write, runs, tmp_path):
    write("a.py", "safe()", "safe()", "safe()")
    answered(convlint, "i", "fine", "s", "a")
    lines = (tmp_path / "a.py").read_text().splitlines()
    assert lines[1] == "safe()  # convlint: ignore[repairable-loop] fine"
    assert sorted(lines[2:]) == ["good = 1", "safe()"]


def test_finding_without_a_fix_offers_none(convlint, write, runs):
    write("a.py", "warning()")
    result = answered(convlint, "a", "s")
    assert "[s]kip, [i]gnore it here, [q]uit: " in result.stdout
    assert "apply" not in result.stdout.splitlines()[-1]
    assert len(runs) == 1


def test_quitting_keeps_what_was_chosen_before(convlint, write, runs, tmp_path):
    write("a.py", "safe()", "risky()")
    answered(convlint, "a", "q")
    assert (tmp_path / "a.py").read_text() == "import torch\ngood = 1\nrisky()\n"


def test_interruption_changes_nothing(convlint, write, runs, tmp_path):
    write("a.py", "safe()", "risky()")
    result = convlint("audit", "a.py", "--interactive", "--no-cache", input=b"a\n")
    assert result.exit_code == 130
    assert (tmp_path / "a.py").read_text() == "import torch\nsafe()\nrisky()\n"


def test_nothing_found_asks_nothing(convlint, write, runs):
    write("a.py", "fine()")
    result = answered(convlint)
    assert result.exit_code == 0
    assert "Nothing found." in result.stdout


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), "--interactive asks on a terminal, and this is none"),
        (
            ("--output-format", "json"),
            "--interactive and --output-format json exclude one another",
        ),
    ],
)
def test_without_a_terminal_nothing_runs(convlint, write, arguments, line):
    write("a.py")
    result = convlint("audit", "a.py", "--interactive", *arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"convlint: {line}")
    assert result.stderr.count("\n") == 1


def test_whole_walk_on_a_real_terminal(tmp_path):
    (tmp_path / "train.py").write_text(TRAIN)
    ours, theirs = pty.openpty()
    command = ("-m", "convlint", "audit", "train.py", "--interactive", "--tier", "quick")
    running = subprocess.Popen(
        [sys.executable, *command, "--device", "cpu"],
        cwd=tmp_path,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "100"},
        close_fds=True,
    )
    os.close(theirs)
    said, prompts, deadline = "", 0, time.monotonic() + 280
    while time.monotonic() < deadline:
        if select.select([ours], [], [], 0.2)[0]:
            try:
                said += os.read(ours, 65536).decode()
            except OSError:
                break
        if said.count("[q]uit:") > prompts:
            prompts += 1
            # The worst comes first; whatever else is found is left.
            os.write(ours, b"a\n" if prompts == 1 else b"s\n")
    os.close(ours)
    running.wait(timeout=60)
    assert "zero-grad-missing" in said, said
    assert "optimizer.zero_grad()" in (tmp_path / "train.py").read_text()
    assert "Before and after" in said
    assert "gone error" in said
    assert running.returncode in (0, 1)
