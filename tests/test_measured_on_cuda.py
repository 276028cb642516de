"""What the probe measures where the training runs on CUDA.

Scripts in ``fixtures/cuda`` use what only CUDA has (half precision with a scaler, fused attention,
cuDNN's recurrent layers, captured graphs). Those in ``fixtures/measured`` are run again with every
tensor on CUDA, and are judged as on the CPU.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import test_measured_fixtures as on_the_cpu
import torch
from probe_server import probing_by_fork
from test_measured_fixtures import FIXTURES, labelled

from convlint.audit import measure
from convlint.findings import Confidence, Severity
from convlint.gpu_probes.measurements import QUICK, STANDARD
from convlint.launch import run_probe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.gpu_probes.observations import Observations

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

HEALTHY = sorted((FIXTURES / "cuda" / "healthy").glob("*.py"))
SICK = sorted((FIXTURES / "cuda" / "sick").glob("*.py"))
CAPTURED = FIXTURES / "cuda" / "healthy" / "whole_step_captured.py"
BY_THEIR_DRAWS = {"rate_too_large_to_settle", "two_samples_of_noisy_targets"}
"""How noisy the steps turn out depends on the initial weights, which CUDA draws otherwise."""
MOVED = [
    script
    for script in (*on_the_cpu.HEALTHY, *on_the_cpu.SICK)
    if script.stem not in BY_THEIR_DRAWS
    and not re.search(r"lightning|transformers|accelerate|num_workers|cpu", script.read_text())
]
SECONDS = 300.0


@pytest.fixture(scope="module")
def one_server() -> Iterator[None]:
    with probing_by_fork():
        yield


def observed(script: Path, tier: str) -> Observations:
    seen = run_probe(str(script), tier=tier, budget=SECONDS, device="cuda")
    assert seen.stopped != "crashed", seen.error
    assert seen.device.kind == "cuda"
    return seen


def weighty(seen: Observations) -> dict[str, str]:
    """The findings a user sees without asking, by slug."""
    return {
        finding.slug: finding.message
        for finding in measure(seen)
        if finding.severity is not Severity.INFO and finding.confidence is not Confidence.LOW
    }


@pytest.mark.parametrize("script", HEALTHY, ids=lambda script: script.stem)
def test_nothing_is_found_in_a_healthy_script(script: Path) -> None:
    seen = observed(script, STANDARD)
    assert weighty(seen) == {}
    assert {curvature.phase for curvature in seen.curvature} == (
        set() if "captured" in script.stem else {"start", "end"}
    )


@pytest.mark.parametrize("script", SICK, ids=lambda script: script.stem)
def test_the_fault_is_found_by_its_name_and_nothing_else(script: Path) -> None:
    found = set(weighty(observed(script, STANDARD)))
    assert labelled(script, "measured") <= found
    assert found <= labelled(script, "measured") | labelled(script, "measured-also")


@pytest.mark.usefixtures("one_server")
@pytest.mark.parametrize("script", MOVED, ids=lambda script: script.stem)
def test_a_script_is_judged_as_on_the_cpu(script: Path, tmp_path: Path) -> None:
    shutil.copy(Path(__file__).with_name("moved_to_cuda.py"), tmp_path)
    moved = tmp_path / script.name
    moved.write_text(
        re.sub(r"^(import torch|from torch)\b", r"import moved_to_cuda\n\1", script.read_text(), count=1, flags=re.MULTILINE)
    )  # fmt: skip
    (tier,) = labelled(script, "tier") or {QUICK}
    found = set(weighty(observed(moved, tier)))
    assert labelled(script, "measured") <= found
    assert found <= labelled(script, "measured") | labelled(script, "measured-also")


def test_a_captured_step_ends_the_probe_with_the_reason() -> None:
    seen = observed(CAPTURED, QUICK)
    assert seen.stopped == "captured"
    assert seen.backwards == 3
    reasons = {skipped.measurement: skipped.reason for skipped in seen.skipped}
    assert reasons["training"] == (
        "the training step is captured as a CUDA graph at line 30 of whole_step_captured.py; its "
        "replays are not followed"
    )


def test_the_numbers_of_the_script_are_the_same_under_the_probe(tmp_path: Path) -> None:
    """Recording, curvature, statistics: nothing of it changes a bit of the next loss."""
    source = (FIXTURES / "cuda" / "healthy" / "recomputed_activations.py").read_text()
    told = "        optimizer.step()\n        open(sys.argv[1], 'a').write(loss.item().hex() + '\\n')\n"
    script = tmp_path / "train.py"
    script.write_text("import sys\n" + source.replace("        optimizer.step()\n", told))
    alone, probed = tmp_path / "alone.txt", tmp_path / "probed.txt"
    subprocess.run([sys.executable, str(script), str(alone)], check=True, capture_output=True)
    seen = run_probe(
        str(script), [str(probed)], tier=STANDARD, hold=0, steps=40, device="cuda", allow_writes=True
    )  # fmt: skip
    assert seen.steps == 40
    assert len(seen.curvature) == 2
    losses = probed.read_text().split()
    # The probe ends the script inside the last step.
    assert len(losses) >= 39
    assert losses == alone.read_text().split()[: len(losses)]
