"""Short, repeatable versions of the programs in ``bench`` that try to break convlint."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def bench(name: str):
    spec = importlib.util.spec_from_file_location(f"bench_{name}", ROOT / "bench" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_input_makes_it_fail_and_fixed_source_parses_and_stays(tmp_path, monkeypatch):
    fuzz = bench("fuzz")
    monkeypatch.chdir(tmp_path)
    endless = fuzz.inputs(0, fuzz.files_of([ROOT / "fixtures"]))
    for _ in range(180):
        kind, name, data, settings = next(endless)
        (tmp_path / "convlint.toml").write_text(settings)
        assert fuzz.examine(name, data) == "", (kind, data)


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_runs_that_are_killed_leave_whole_files_and_a_sound_cache(tmp_path):
    assert bench("kill_runs").kill_rounds(3, tmp_path, seed=1) == []
