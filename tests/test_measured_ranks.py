"""Small scripts in ``fixtures/measured/ranks``, under torchrun with two ranks on the CPU."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest
from test_measured_fixtures import labelled

from convlint.audit import measure
from convlint.findings import Confidence, Severity
from convlint.gpu_probes.measurements import QUICK
from convlint.launch import run_probe
from convlint.rules import all_rules
from convlint.targets import target_of

RANKS = Path(__file__).parent.parent / "fixtures" / "measured" / "ranks"
HEALTHY = sorted((RANKS / "healthy").glob("*.py"))
SICK = sorted((RANKS / "sick").glob("*.py"))
SECONDS = 300.0


def weighty(script: Path) -> set[str]:
    """The findings a user sees without asking."""
    target = target_of(("torchrun", "--nproc-per-node", "2", str(script)))
    seen = run_probe(target, tier=QUICK, hold=3, steps=20, budget=SECONDS, device="cpu")
    assert (seen.stopped, seen.error) == ("steps", "")
    return {
        finding.slug
        for finding in measure(seen)
        if finding.severity is not Severity.INFO and finding.confidence is not Confidence.LOW
    }


@pytest.mark.xdist_group("ranks")
@pytest.mark.parametrize("script", HEALTHY, ids=lambda script: script.stem)
def test_nothing_is_found_where_the_ranks_work_together(script: Path) -> None:
    assert weighty(script) == set()


@pytest.mark.xdist_group("ranks")
@pytest.mark.parametrize("script", SICK, ids=lambda script: script.stem)
def test_the_fault_between_the_ranks_is_found_by_its_name(script: Path) -> None:
    assert weighty(script) == labelled(script, "measured")


def test_every_fault_between_ranks_has_two_scripts() -> None:
    scripts = defaultdict(set)
    for script in SICK:
        for slug in labelled(script, "measured"):
            scripts[slug].add(script.name)
    of_ranks = {rule.slug for rule in all_rules() if rule.code.startswith("RNK")}
    assert of_ranks == {slug for slug, names in scripts.items() if len(names) >= 2}
