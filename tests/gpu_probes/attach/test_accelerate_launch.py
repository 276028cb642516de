"""``accelerate launch train.py`` as the target: its own launcher starts the process."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from convlint.launch import run_probe
from convlint.targets import target_of

SCRIPT = Path(__file__).parent / "scripts" / "frameworks" / "accelerate_digits.py"


@pytest.mark.xdist_group("ranks")
@pytest.mark.skipif(shutil.which("accelerate") is None, reason="accelerate is not installed")
def test_the_script_is_followed_through_accelerates_launcher(tmp_path, monkeypatch):
    pytest.importorskip("accelerate")
    monkeypatch.chdir(tmp_path)
    target = target_of(("accelerate", "launch", "--cpu", "--num_processes", "1", str(SCRIPT)))
    seen = run_probe(target, tier="quick", steps=5, hold=2, budget=120.0, device="cpu")
    assert (seen.stopped, seen.error, seen.held) == ("steps", "", 2)
    assert "gradient accumulation" in seen.recognised
    assert list(tmp_path.iterdir()) == []
