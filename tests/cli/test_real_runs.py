"""Whole commands in their own process, on scripts that behave badly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import jsonschema
import pytest

from convlint.report.json import output_schema

NOISY = """\
import sys
import torch

print("to stdout")
print("to stderr", file=sys.stderr)
torch.manual_seed(0)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
x = torch.randn(64, 4)
y = x.sum(1, keepdim=True)
for step in range(1000):
    optimizer.zero_grad()
    loss = torch.nn.functional.mse_loss(model(x), y)
    loss.backward()
    optimizer.step()
    print("loss", loss.item())
torch.save(model.state_dict(), "model.pt")
"""

SLEEPER = """\
import os
import time
import torch

with open("pid", "w") as file:
    file.write(str(os.getpid()))
time.sleep(600)
"""


def start(directory, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "convlint", *arguments],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_json_of_a_chatty_script_is_json_and_its_files_are_held_back(tmp_path):
    (tmp_path / "train.py").write_text(NOISY)
    running = start(
        tmp_path,
        *("audit", "train.py", "--steps", "20", "--show-output", "--output-format", "json"),
    )
    stdout, stderr = running.communicate(timeout=300)
    output = json.loads(stdout)
    jsonschema.Draft202012Validator(output_schema()).validate(output)
    assert output["observations"]["steps"] == 20
    assert output["verdict"]["decision"] in ("go", "go with care", "no-go")
    assert "to stdout" in stderr
    assert {entry.name for entry in tmp_path.iterdir()} <= {"train.py", ".convlint_cache"}


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_ctrl_c_is_one_line_and_leaves_no_child_behind(tmp_path):
    (tmp_path / "train.py").write_text(SLEEPER)
    running = start(tmp_path, "probe", "train.py", "--allow-writes", "-q", "--budget", "300")
    marker = tmp_path / "pid"
    while running.poll() is None and not (marker.exists() and marker.read_text()):
        time.sleep(0.05)
    child = int(marker.read_text())
    running.send_signal(signal.SIGINT)
    stdout, stderr = running.communicate(timeout=60)
    assert (running.returncode, stdout, stderr) == (130, "", "convlint: interrupted\n")
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
