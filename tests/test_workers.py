"""Many files in several processes: the same findings, and no process left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from convlint.engine import check_paths

SCRIPT = """\
import torch
from torch import nn

model = nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for x, y in [(torch.zeros(4, 2), torch.zeros(4, 1))] * 3:
    nn.functional.mse_loss(model(x), y).backward()
    optimizer.step()
"""

DEADLY_RULE = """\
import os
import signal

from convlint.findings import Severity
from convlint.rules import Rule


class DeadlyProgram(Rule):
    \"\"\"Ends the process that reads a certain program.\"\"\"

    code, slug, severity = "OWN001", "deadly-program", Severity.WARNING

    def static(self, program):
        if program.path.endswith("script_07.py"):
            os.kill(os.getpid(), signal.SIGKILL)
        return ()
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text("")
    for number in range(30):
        (tmp_path / f"script_{number:02}.py").write_text(SCRIPT + f"# {number}\n")
    (tmp_path / "broken.py").write_text("import torch\nx = (\n")
    return tmp_path


def test_findings_are_the_same_in_the_same_order_as_in_one_process(project):
    alone, together = check_paths(["."]), check_paths(["."], jobs=2)
    assert together.findings == alone.findings
    assert list(map(str, together.problems)) == list(map(str, alone.problems))
    assert (together.files, together.failing) == (alone.files, alone.failing) == (30, 30)


def test_file_whose_process_dies_is_a_fault_and_the_others_are_judged(project):
    (project / "own" / "deadly.py").parent.mkdir()
    (project / "own" / "deadly.py").write_text(DEADLY_RULE)
    (project / "pyproject.toml").write_text("[tool.convlint]\nrules = ['own']\n")
    outcome = check_paths(["."], jobs=2, cache=project / "cache")
    assert [str(fault) for fault in outcome.faults] == [
        "script_07.py: not judged: the process that read it was killed by SIGKILL"
    ]
    assert {f.location.path for f in outcome.findings} == {
        f"script_{number:02}.py" for number in range(30) if number != 7
    }


@pytest.mark.skipif(os.name != "posix", reason="process groups")
@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGKILL])
def test_end_of_the_run_is_the_end_of_its_processes(project, blow):
    for number in range(400):
        (project / f"more_{number:03}.py").write_text(SCRIPT + f"# {number}\n")
    command = [sys.executable, "-m", "convlint", "check", "--no-cache", "-j", "2"]
    run = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while len(_group(run.pid)) < 3:
        assert run.poll() is None, "it ended before its processes were seen"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    if blow is signal.SIGINT:
        os.killpg(run.pid, blow)
    else:
        run.kill()
    _, said = run.communicate(timeout=60)
    if blow is signal.SIGINT:
        assert run.returncode == 130
        assert said.decode() == "convlint: interrupted\n"
    while _group(run.pid):
        assert time.monotonic() < deadline + 60, "a process was left behind"
        time.sleep(0.05)


def _group(leader: int) -> list[int]:
    """The processes of a group that have not ended."""
    listed = subprocess.run(
        ["ps", "-e", "-o", "pgid=,pid=,stat="], capture_output=True, text=True, check=True
    )
    rows = (line.split() for line in listed.stdout.splitlines())
    return [int(pid) for group, pid, state in rows if int(group) == leader and state[0] != "Z"]
