"""Healthy scripts in ``fixtures/mistaken`` in which a rule about source is wrong, and the audit knows.

``# mistaken: slug`` at the end of a line names the warning the source alone gives there. The probe
refutes it, or leaves it unmeasured where a short run cannot speak against it; it confirms none.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from probe_server import probing_by_fork

from convlint.audit import join
from convlint.engine import check_paths
from convlint.findings import Confidence, Severity, Verdict
from convlint.gpu_probes.measurements import QUICK
from convlint.launch import run_probe
from convlint.settings import Overrides

if TYPE_CHECKING:
    from collections.abc import Iterator

# In one process: the last test counts what the others have found.
pytestmark = pytest.mark.xdist_group("mistaken")

SCRIPTS = sorted((Path(__file__).parent.parent / "fixtures" / "mistaken").glob("*.py"))
SECONDS = 300.0
"""A budget no fixture reaches on an idle machine, so that a loaded one sees the same steps."""

VERDICTS: Counter[Verdict] = Counter()


@pytest.fixture(autouse=True, scope="module")
def _one_server() -> Iterator[None]:
    with probing_by_fork():
        yield


def mistaken(script: Path) -> set[tuple[int, str]]:
    lines = enumerate(script.read_text().splitlines(), start=1)
    return {(n, found[1]) for n, line in lines if (found := re.search(r"# mistaken: (\S+)$", line))}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_the_source_alone_warns_and_the_run_does_not_agree(script: Path) -> None:
    static = check_paths((script,), Overrides(min_confidence=Confidence.LOW)).findings
    warned = {(f.location.line, f.slug) for f in static if f.severity is not Severity.INFO}
    assert warned == mistaken(script) != set()
    seen = run_probe(str(script), tier=QUICK, steps=100, budget=SECONDS, device="cpu")
    assert seen.convergence is not None
    assert seen.convergence.kind == "converging"
    joined, verdict = join(static, seen)
    judged = {f.slug: f.judgement.verdict for f in joined if f.judgement is not None}
    assert set(judged.values()) <= {Verdict.REFUTED, Verdict.UNMEASURED}
    # Nothing else is found by measuring: the scripts are healthy.
    assert [f.slug for f in joined if f.judgement is None and f.severity is not Severity.INFO] == []
    refuted = set(judged.values()) == {Verdict.REFUTED}
    assert verdict.decision.value == ("go" if refuted else "go with care")
    VERDICTS.update(judged.values())


def test_most_are_refuted() -> None:
    if sum(VERDICTS.values()) < len(SCRIPTS):
        pytest.skip("only some of the scripts were run")
    assert VERDICTS[Verdict.REFUTED] > VERDICTS[Verdict.UNMEASURED]
