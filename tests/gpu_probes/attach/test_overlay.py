"""The layer over the working directory: what no Python function writes does not last either."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

import pytest

from convlint.gpu_probes.attach.overlay import OverlayUnavailable, cover_working_directory
from convlint.launch import ProbeError, run_probe

TRAINING = """
    import ctypes, os, subprocess
    import torch

    {writes}
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(40):
        loss = model(torch.randn(8, 4)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
"""
FROM_C = """
    libc = ctypes.CDLL(None)
    file = libc.open(b"from_c.bin", os.O_WRONLY | os.O_CREAT, 0o600)
    assert file >= 0 and libc.write(file, b"12345", 5) == 5
    assert libc.rename(b"kept.txt", b"moved.txt") == 0
"""
FROM_A_PROGRAM = """
    subprocess.run("echo lost > from_shell.txt; mkdir runs; echo 1 > runs/log", shell=True, check=True)
    assert open("runs/log").read() == "1\\n"
"""


def refusal(directory: Path) -> str:
    """Why the layer cannot be laid here, asked of a child; empty where it can."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said = ""
        try:
            os.chdir(directory)
            cover_working_directory(str(directory.parent / "private"), [])
        except OverlayUnavailable as refused:
            said = refused.reason
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as answer:
        return answer.read()


@pytest.fixture
def work(tmp_path, monkeypatch) -> Path:
    directory = tmp_path / "project"
    for made in (directory, tmp_path / "private"):
        made.mkdir()
    monkeypatch.chdir(directory)
    (directory / "kept.txt").write_text("mine")
    return directory


def probed(work: Path, writes: str, **options: object):
    script = textwrap.dedent(TRAINING).replace("{writes}", textwrap.dedent(writes))
    (work / "train.py").write_text(script)
    bounds = {"tier": "quick", "steps": 5, "hold": 1, "budget": 120.0, "device": "cpu"}
    return run_probe("train.py", **bounds, **options)


@pytest.mark.parametrize(
    ("writes", "names"),
    [
        (FROM_C, {"from_c.bin", "kept.txt", "moved.txt"}),
        (FROM_A_PROGRAM, {"from_shell.txt", "runs/log"}),
    ],
    ids=["from C", "from a program"],
)
def test_nothing_outlasts_the_probe_whoever_wrote_it(work: Path, writes: str, names: set[str]):
    reason = refusal(work)
    if reason:
        pytest.skip(reason)
    seen = probed(work, writes, isolate="overlay")
    assert (seen.stopped, seen.error) == ("steps", "")
    assert set(seen.writes_held_back) == names
    assert {file.name for file in work.iterdir()} == {"kept.txt", "train.py"}
    assert (work / "kept.txt").read_text() == "mine"


def test_patches_alone_let_other_programs_write(work: Path):
    seen = probed(work, FROM_A_PROGRAM, isolate="patches")
    assert seen.stopped == "steps"
    assert (work / "from_shell.txt").read_text() == "lost\n"
    (skipped,) = [s for s in seen.skipped if s.measurement == "writes of other programs"]
    assert skipped.reason.endswith("what other programs write is not held back")


def test_writes_that_are_allowed_last(work: Path):
    seen = probed(work, FROM_A_PROGRAM, allow_writes=True)
    assert seen.stopped == "steps"
    assert (work / "runs" / "log").exists()


def test_a_directory_with_what_must_last_is_not_covered(work: Path):
    with pytest.raises(OverlayUnavailable, match="which must last"):
        cover_working_directory(str(work / "private"), [])


def test_asking_for_the_layer_where_it_cannot_be_is_one_line(work: Path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(work / "models"))
    with pytest.raises(ProbeError, match=r"^--isolate overlay: .*models, which must last"):
        probed(work, "", isolate="overlay")
    assert probed(work, "").stopped == "steps"
