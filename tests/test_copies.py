"""A few files shared with a copy of the process: the same findings, and no process left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="processes are copied on Linux only"
)

SCRIPT = (
    """\
import torch
from torch import nn

model = nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for x, y in [(torch.zeros(4, 2), torch.zeros(4, 1))] * 3:
    nn.functional.mse_loss(model(x), y).backward()
    optimizer.step()
"""
    + "# a long remark\n" * 400
)

RULE = """\
import os
import signal
import time

from convlint.findings import Location, Severity
from convlint.rules import Rule

ORIGINAL = os.getpid()


class ProcessNamed(Rule):
    \"\"\"Says in which process a program is judged.\"\"\"

    code, slug, severity = "OWN001", "process-named", Severity.WARNING

    def static(self, program):
        if os.path.exists("deadly") and os.getpid() != ORIGINAL:
            os.kill(os.getpid(), signal.SIGKILL)
        if os.path.exists("slow"):
            os.write(1, b"judging\\n")
            time.sleep(60)
        yield self.finding(Location(program.path, 1, 1, 1, 2), f"judged by {os.getpid()}")
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "named.py").write_text(RULE)
    (tmp_path / "pyproject.toml").write_text("[tool.convlint]\nrules = ['own']\n")
    for number in range(4):
        (tmp_path / f"script_{number}.py").write_text(SCRIPT)
    return tmp_path


def check(project, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "convlint", "check", "--output-format", "concise", *options]
    return subprocess.run(
        [*command, "--no-cache", "."], cwd=project, capture_output=True, text=True, check=False
    )


def judged_by(output: str) -> set[str]:
    return set(re.findall("judged by ([0-9]+)", output))


def test_two_processes_find_what_one_finds(project):
    together, alone = check(project, "-j", "2"), check(project, "-j", "1")
    assert len(judged_by(together.stdout)) == 2
    assert len(judged_by(alone.stdout)) == 1
    assert re.sub("by [0-9]+", "", together.stdout) == re.sub("by [0-9]+", "", alone.stdout)
    assert together.stdout.count("zero-grad-missing") == 4


def test_small_files_are_judged_in_one_process(project):
    for number in range(4):
        (project / f"script_{number}.py").write_text("import torch\n")
    assert len(judged_by(check(project, "-j", "2").stdout)) == 1


def test_what_a_copy_died_over_is_judged_by_its_original(project):
    (project / "deadly").touch()
    done = check(project, "-j", "2")
    assert len(judged_by(done.stdout)) == 1
    assert done.stdout.count("zero-grad-missing") == 4
    assert done.stderr == ""


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGTERM])
def test_end_of_the_run_is_the_end_of_its_copies(project, blow):
    (project / "slow").touch()
    process = subprocess.Popen(
        [sys.executable, "-m", "convlint", "check", "-j", "2", "--no-cache", "."],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    for _ in range(2):
        assert process.stdout.readline() == "judging\n"
    os.killpg(process.pid, blow)
    _, said = process.communicate(timeout=30)
    assert "Traceback" not in said
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.05)
    else:
        pytest.fail("a copy outlived the run")
    if blow == signal.SIGINT:
        assert process.returncode == 130
        assert said == "convlint: interrupted\n"
