"""The GitHub action: its steps, run by bash as a runner would."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
STEPS: list[dict[str, Any]] = ACTION["runs"]["steps"]

SICK = """\
import torch

model = torch.nn.Linear(4, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for x, y in [(torch.zeros(8, 4), torch.zeros(8, dtype=torch.long))] * 9:
    loss = torch.nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
"""

PYTHON = f"""\
#!/bin/sh
# Stands for the Python of a runner: makes an environment whose pip notes what it is asked for.
mkdir -p "$3/bin"
printf '#!/bin/sh\\necho "$@" >> "$RUNNER_TEMP/pip"\\n' > "$3/bin/python"
printf '#!/bin/sh\\nexec "{sys.executable}" -m convlint "$@"\\n' > "$3/bin/convlint"
chmod +x "$3/bin/python" "$3/bin/convlint"
"""


class Runner:
    """Keeps what steps hand on through files, and fills in expressions."""

    def __init__(self, place: Path, inputs: dict[str, str]) -> None:
        self.work = place / "work"
        self.temp = place / "temp"
        self.work.mkdir()
        self.temp.mkdir()
        self.inputs = {name: said["default"] for name, said in ACTION["inputs"].items()} | inputs
        self.outputs: dict[str, str] = {}
        self.environment: dict[str, str] = {}
        self.log = ""
        python = place / "python3"
        python.write_text(PYTHON)
        python.chmod(0o755)
        self.path = f"{place}:{os.environ['PATH']}"

    def filled(self, text: str) -> str:
        def value(match: re.Match[str]) -> str:
            name = match.group(1)
            if name == "github.action_path":
                return str(ROOT)
            group, _, key = name.rpartition(".")
            known = {"inputs": self.inputs, "steps.check.outputs": self.outputs}
            return known[group].get(key, "")

        return re.sub(r"\$\{\{\s*([\w.-]+)\s*\}\}", value, text)

    def run(self, step: dict[str, Any]) -> int:
        files = {
            name: self.temp / name
            for name in ("GITHUB_ENV", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")
        }
        given = {name: self.filled(text) for name, text in step.get("env", {}).items()}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=self.work,
            env={
                "HOME": str(self.temp),
                "PATH": self.path,
                "RUNNER_TEMP": str(self.temp),
                **{name: str(file) for name, file in files.items()},
                **self.environment,
                **given,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        self.log += done.stdout + done.stderr
        for file, known in (
            (files["GITHUB_ENV"], self.environment),
            (files["GITHUB_OUTPUT"], self.outputs),
        ):
            lines = file.read_text().splitlines() if file.exists() else []
            known.update(line.split("=", 1) for line in lines)
        return done.returncode

    def finish(self) -> int:
        """Run every step of bash; the exit code of the first that fails."""
        for step in STEPS:
            if "run" in step and (code := self.run(step)):
                return code
        return 0

    @property
    def summary(self) -> str:
        return (self.temp / "GITHUB_STEP_SUMMARY").read_text()


def test_every_step_says_its_shell_and_takes_inputs_through_the_environment_only():
    for step in STEPS:
        assert ("run" in step) != ("uses" in step)
        if "run" in step:
            assert step["shell"] == "bash"
            assert "${{" not in step["run"], "an input in a script can run commands"
    used = set(re.findall(r"inputs\.([\w-]+)", (ROOT / "action.yml").read_text()))
    assert used == set(ACTION["inputs"])
    (upload,) = [step for step in STEPS if "uses" in step]
    assert upload["uses"].startswith("github/codeql-action/upload-sarif@v")
    assert upload["if"] == "inputs.upload-sarif == 'true'"


def test_finding_fails_the_job_after_it_was_marked_and_summed_up(tmp_path):
    runner = Runner(tmp_path, {"upload-sarif": "true"})
    (runner.work / "train.py").write_text(SICK)
    assert runner.finish() == 1
    assert "::error " in runner.log
    assert "file=train.py" in runner.log
    assert "zero-grad-missing" in runner.summary
    assert runner.summary.startswith("### convlint\n```text\n")
    sarif = json.loads(Path(runner.outputs["sarif-file"]).read_text())
    assert sarif["runs"][0]["results"]
    assert (runner.temp / "pip").read_text().split()[-1] == str(ROOT)


def test_inputs_choose_files_rules_severity_and_version(tmp_path):
    runner = Runner(
        tmp_path,
        {
            "paths": "'my src' other",
            "args": "--ignore 'LOP001,SUP'",
            "version": "0.1.0",
            "output-format": "concise",
        },
    )
    for name in ("my src", "other", "unasked"):
        (runner.work / name).mkdir()
        (runner.work / name / "train.py").write_text(SICK)
    (runner.work / "unasked" / "train.py").write_text("import torch\n(\n")
    assert runner.finish() == 0
    assert runner.outputs == {"exit-code": "0"}
    assert (runner.temp / "pip").read_text().split()[-1] == "convlint==0.1.0"


def test_what_an_input_says_is_never_run(tmp_path):
    runner = Runner(tmp_path, {"paths": "$(touch hacked) ; touch hacked", "args": "`touch hacked`"})
    assert runner.finish() == 2
    assert not (runner.work / "hacked").exists()


@pytest.mark.parametrize(("text", "code"), [("import torch\n(\n", 2), ("import torch\n", 0)])
def test_exit_code_is_that_of_the_check(tmp_path, text, code):
    runner = Runner(tmp_path, {})
    (runner.work / "train.py").write_text(text)
    assert runner.finish() == code
    assert runner.outputs["exit-code"] == str(code)
