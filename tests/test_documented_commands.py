"""Every command, configuration and CI snippet in README and docs does what it is shown for.

A block of commands that cannot be run here says so where it stands: ``sh not-run="reason"``.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
from documented import PAGES, ROOT, Block, blocks

from convlint.cli.group import COMMANDS, main
from convlint.config import SettingsFinder

EXIT_CODES_OF_OURS = (0, 1)
"""Nothing found, or something. 2 is a mistake in the command or its surroundings."""

TRAIN = """\
import argparse

import torch
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--batch-size", type=int, default=16)
args = parser.parse_args()

torch.manual_seed(0)
inputs = torch.randn(64, 4)
targets = inputs.sum(1, keepdim=True)
model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
for epoch in range(6):
    for start in range(0, 64, args.batch_size):
        x, y = inputs[start : start + args.batch_size], targets[start : start + args.batch_size]
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
"""


_LOSSES = [(k, 2 * 0.9**k, 2 * 0.8**k + 0.03 * k + 0.3) for k in range(40)]
_ROWS = "".join(f"{k},{loss:.5f},{validation:.5f}\n" for k, loss, validation in _LOSSES)
LOG = {
    "metrics": f"epoch,loss,val_loss\n{_ROWS}",
    "odd": f"epoch,objective_a,objective_b\n{_ROWS}",
    "printed": "".join(f"step {k} loss: {loss:.5f}\n" for k, loss, _ in _LOSSES),
}


def commands(block: Block) -> list[str]:
    """The lines of a block, comments left out."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


RUN = [
    (block, command) for block in blocks("sh") if not block.not_run for command in commands(block)
]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A small repository with a script to check, and the commands on the path."""
    root = tmp_path / "project"
    for name in ("train.py", "src/train.py", "src/model.py", "experiments/old/train.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(TRAIN)
    (root / "pyproject.toml").write_text('[project]\nname = "small"\n')
    (root / "convlint-baseline.json").write_text('{"version": 1, "findings": []}\n')
    (root / "runs").mkdir()
    for name in ("metrics", "odd"):
        (root / "runs" / f"{name}.csv").write_text(LOG[name])
    (root / "runs" / "train.log").write_text(LOG["printed"])
    (root / ".gitignore").write_text("__pycache__/\n")
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for arguments in (["init", "-q"], ["add", "."], [*author, "commit", "-qm", "Begin"]):
        subprocess.run(["git", *arguments], cwd=root, check=True)
    tools = {
        tmp_path / "bin" / "convlint": f'exec {sys.executable} -m convlint "$@"',
        tmp_path / "bin" / "python": f'exec {sys.executable} "$@"',
        tmp_path / "env" / "bin" / "python": f'exec {sys.executable} "$@"',
    }
    # A batch system takes what it is given and says its number.
    tools |= {tmp_path / "bin" / name: "echo 7" for name in ("sbatch", "srun", "torchrun")}
    for file, text in tools.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(root)
    return root


@pytest.mark.parametrize(("block", "command"), RUN, ids=[f"{b}-{c[:40]}" for b, c in RUN])
@pytest.mark.usefixtures("project")
def test_command_runs(block, command):
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode in EXIT_CODES_OF_OURS, f"{block}: {command}\n{done.stderr}"
    assert "Traceback" not in done.stderr


def test_commands_that_are_not_run_are_few_and_say_why():
    left_out = [block for block in blocks("sh") if block.not_run]
    assert len(RUN) > 3 * len(left_out)
    assert all(len(block.not_run.split()) >= 2 for block in left_out)


CONFIGURATIONS = [block for block in blocks("toml") if "[tool.convlint" in block.text]


def example_of_a_rule() -> str:
    """The class on the page about rules of one's own."""
    return next(b.text for b in blocks("python") if b.page.endswith("custom-rules.md"))


@pytest.mark.parametrize("block", CONFIGURATIONS, ids=str)
def test_configuration_is_accepted(block, tmp_path):
    table = tomllib.loads(block.text)["tool"]["convlint"]
    (tmp_path / "pyproject.toml").write_text(block.text)
    if "extend" in table:
        extended = tmp_path / table["extend"]
        extended.parent.mkdir(exist_ok=True)
        extended.write_text("")
    for name in table.get("rules", ()):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "own.py").write_text(example_of_a_rule())
    settings = SettingsFinder().for_directory(tmp_path)
    assert str(tmp_path / "pyproject.toml") in settings.files


def test_every_key_of_the_configuration_is_documented():
    from convlint.configuration import KEYS

    text = (ROOT / "docs" / "configuration.md").read_text()
    assert [key for key in KEYS if key not in text] == []


def test_every_format_and_every_command_is_documented():
    from convlint.cli.options import OUTPUT_FORMATS

    formats = (ROOT / "docs" / "formats.md").read_text()
    assert [name for name in OUTPUT_FORMATS if f"| `{name}` |" not in formats] == []
    whole = "\n".join(page.read_text() for page in PAGES) + main.get_help(click.Context(main))
    assert [name for name in COMMANDS if name not in whole] == []


def in_workflows() -> list[tuple[str, str]]:
    """The commands of ours in CI snippets."""
    found = []
    for block in blocks("yaml"):
        for line in block.text.splitlines():
            match = re.search(r"(?:-|run:|script:)\s+(convlint .*)$", line)
            if match:
                found.append((str(block), match[1]))
    return found


@pytest.mark.parametrize(("place", "command"), in_workflows())
@pytest.mark.usefixtures("project")
def test_command_of_a_ci_snippet_runs(place, command):
    done = subprocess.run(shlex.split(command), capture_output=True, text=True, check=False)
    assert done.returncode in EXIT_CODES_OF_OURS, f"{place}: {done.stderr}"


def test_ci_snippets_hold_commands_of_ours():
    assert len(in_workflows()) >= 4


@pytest.mark.parametrize("block", [*blocks("yaml")], ids=str)
def test_ci_snippet_is_yaml(block):
    yaml = pytest.importorskip("yaml")
    assert yaml.safe_load(block.text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page: Path):
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text)
    assert [target for target in targets if not (page.parent / target).exists()] == []
