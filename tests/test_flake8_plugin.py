"""The rules as flake8 shows them."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from convlint.rules import own_rules

ROOT = Path(__file__).parent.parent
DECLARED: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
    "entry-points"
]["flake8.extension"]

SICK = """\
import torch

model = torch.nn.Linear(4, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for x, y in [(torch.zeros(8, 4), torch.zeros(8, dtype=torch.long))] * 9:
    loss = torch.nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
"""


@pytest.fixture
def flake8(tmp_path):
    """Run flake8 on ``train.py`` in an empty folder, with the entry points this tree declares."""
    metadata = tmp_path / "site" / "convlint_declared-0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: convlint-declared\nVersion: 0\n"
    )
    points = "".join(f"{name} = {value}\n" for name, value in DECLARED.items())
    (metadata / "entry_points.txt").write_text(f"[flake8.extension]\n{points}")
    # The installed convlint may have been built before the tree was changed.
    program = (
        "import importlib.metadata as m, sys\n"
        "all_of = m.distributions\n"
        "m.distributions = lambda **k: (d for d in all_of(**k) if d.metadata['Name'] != 'convlint')\n"
        "from flake8.main.cli import main\n"
        "sys.exit(main())\n"
    )

    def run(*arguments: str, source: str = SICK) -> subprocess.CompletedProcess[str]:
        (tmp_path / "train.py").write_text(source)
        return subprocess.run(
            [sys.executable, "-c", program, "-j1", *arguments, "train.py"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_every_category_of_rules_has_its_entry():
    # Rules about logs have nothing to say of a source file.
    prefixes = {r.code[:3] for r in own_rules() if r.has_static() or r.has_measured()}
    assert {name: f"convlint.flake8_plugin:{name}" for name in prefixes} == DECLARED


def test_finding_has_its_code_place_and_message(flake8):
    done = flake8()
    assert "train.py:7:5: LOP001 the gradients of `optimizer` are never cleared" in done.stdout
    assert done.stdout.count("LOP001") == 1
    assert done.returncode == 1
    assert "convlint" in flake8("--version").stdout


def test_select_ignore_and_noqa_of_flake8_hold(flake8):
    assert "LOP001" in flake8("--select", "LOP").stdout
    assert flake8("--select", "LOS,OPT").stdout == ""
    assert flake8("--extend-ignore", "LOP001").stdout == ""
    silenced = SICK.replace("loss.backward()", "loss.backward()  # noqa: LOP001")
    assert flake8(source=silenced).stdout == ""


def test_settings_of_convlint_hold_unless_isolated(flake8, tmp_path):
    (tmp_path / "convlint.toml").write_text('ignore = ["LOP001"]\n')
    assert flake8().stdout == ""
    assert "LOP001" in flake8("--convlint-isolated").stdout
    (tmp_path / "convlint.toml").write_text('ignored = ["LOP001"]\n')
    wrong = flake8()
    assert wrong.returncode == 1
    assert "unknown key 'ignored'; did you mean 'ignore'?" in wrong.stdout + wrong.stderr


def test_rule_that_is_off_can_be_asked_for(flake8):
    off = next(rule for rule in own_rules() if not rule.default)
    assert flake8("--convlint-extend-select", off.slug).returncode == 1
    assert "unknown rule 'no-such'" in flake8("--convlint-extend-select", "no-such").stdout
