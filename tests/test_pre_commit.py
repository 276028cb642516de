"""The hooks, run by the real pre-commit from a repository on the disk."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from convlint.cli.group import main

ROOT = Path(__file__).parent.parent
BUILT_FROM = (
    "pyproject.toml", "README.md", "LICENSE", "convlint", "rules", "gpu_probes",
    ".pre-commit-hooks.yaml",
)  # fmt: skip
PATIENCE = 600
"""Seconds for an environment to be installed from the registry."""

SICK = """\
import torch

model = torch.nn.Linear(4, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for x, y in [(torch.zeros(8, 4), torch.zeros(8, dtype=torch.long))] * 9:
    loss = torch.nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
"""
HEALTHY = SICK.replace("    loss.backward()", "    optimizer.zero_grad()\n    loss.backward()")
FIXABLE = HEALTHY.replace("optimizer.zero_grad()", "optimizer.zero_grad")


def run(*command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


def git(cwd: Path, *arguments: str) -> str:
    name = ("-c", "user.name=tester", "-c", "user.email=tester@example.org")
    done = run("git", *name, *arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def hooks(tmp_path_factory) -> tuple[Path, str]:
    """A repository of what convlint is built from, and its commit."""
    place = tmp_path_factory.mktemp("hooks")
    for name in BUILT_FROM:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, place / name)
    git(place, "init", "-q")
    git(place, "add", "-A")
    git(place, "commit", "-qm", "all")
    return place, git(place, "rev-parse", "HEAD")


@pytest.fixture(scope="module")
def registry(tmp_path_factory) -> None:
    """Skip where pip cannot fetch: pre-commit installs the hooks with it."""
    place = tmp_path_factory.mktemp("registry")
    asked = ("download", "-q", "--no-deps", "--no-cache-dir", "-d", ".", "setuptools>=77")
    done = run(sys.executable, "-m", "pip", *asked, cwd=place, PIP_DEFAULT_TIMEOUT="20")
    if done.returncode:
        pytest.skip("the package registry cannot be reached, so no hook can be installed")


@pytest.fixture(scope="module")
def environments(tmp_path_factory) -> Path:
    """Where pre-commit keeps what it installs."""
    return tmp_path_factory.mktemp("environments")


@pytest.fixture
def project(tmp_path: Path, hooks: tuple[Path, str]) -> Path:
    repository, commit = hooks
    config = {
        "repos": [
            {
                "repo": str(repository),
                "rev": commit,
                "hooks": [
                    {"id": "convlint"},
                    {"id": "convlint-fix", "stages": ["manual"]},
                    {"id": "convlint-audit", "args": ["--help"]},
                ],
            }
        ]
    }
    (tmp_path / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))
    git(tmp_path, "init", "-q")
    return tmp_path


@pytest.mark.registry
@pytest.mark.xdist_group("pre-commit")
def test_hooks_find_fix_and_let_pass(project, environments, registry):
    def pre_commit(hook: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        git(project, "add", "-A")
        command = (sys.executable, "-m", "pre_commit", "run", hook, *arguments)
        return run(*command, cwd=project, PRE_COMMIT_HOME=str(environments))

    (project / "train.py").write_text(SICK)
    (project / "notes.txt").write_text(SICK)
    found = pre_commit("convlint")
    assert found.returncode == 1, found.stdout + found.stderr
    assert "zero-grad-missing" in found.stdout
    assert "notes.txt" not in found.stdout

    (project / "train.py").write_text(HEALTHY)
    assert pre_commit("convlint").returncode == 0

    cell = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
    notebook = {"cells": [cell | {"source": SICK}], "metadata": {}, "nbformat": 4}
    (project / "train.ipynb").write_text(json.dumps(notebook | {"nbformat_minor": 5}))
    assert "train.ipynb:cell 1:7:5" in pre_commit("convlint").stdout
    (project / "train.ipynb").unlink()

    (project / "train.py").write_text(FIXABLE)
    fixed = pre_commit("convlint-fix", "--hook-stage", "manual")
    assert fixed.returncode == 1
    assert "files were modified by this hook" in fixed.stdout
    assert (project / "train.py").read_text() == HEALTHY
    assert pre_commit("convlint-fix", "--hook-stage", "manual").returncode == 0

    installed = {path.name for path in environments.glob("*/py_env-*/lib/*/site-packages/*")}
    assert "msgspec" in installed
    assert installed.isdisjoint({"torch", "numpy", "scipy", "pygls"})


def test_hooks_name_commands_and_options_that_exist():
    for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text()):
        program, *arguments = hook["entry"].split()
        assert program == "convlint"
        assert CliRunner().invoke(main, [*arguments, "--help"]).exit_code == 0
