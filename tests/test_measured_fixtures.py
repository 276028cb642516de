"""Small scripts in ``fixtures/measured``: what the steps themselves show, by the quick tier.

``# tier: standard`` asks for what the quick one does not measure. ``# measured: slug`` names the fault, ``# measured-also: slug, slug -- reason`` what may follow
from it. Healthy scripts have no label, and nothing is found in them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from probe_server import probing_by_fork

from convlint.audit import measure
from convlint.findings import Confidence, Severity
from convlint.gpu_probes.measurements import QUICK
from convlint.launch import run_probe
from convlint.rules import all_rules, find_rule

if TYPE_CHECKING:
    from collections.abc import Iterator

FIXTURES = Path(__file__).parent.parent / "fixtures"
HEALTHY = sorted((FIXTURES / "measured" / "healthy").glob("*.py"))
SICK = sorted((FIXTURES / "measured" / "sick").glob("*.py"))
WHOLE_SCRIPTS = sorted((FIXTURES / "sick").glob("*.py"))
SECONDS = 300.0
"""A budget no fixture reaches on an idle machine, so that a loaded one sees the same steps."""


def labelled(script: Path, header: str) -> set[str]:
    lines = re.findall(rf"^# {header}: (.+?)(?: -- .+)?$", script.read_text(), flags=re.MULTILINE)
    return {slug.strip() for line in lines for slug in line.split(",")}


@pytest.fixture(autouse=True, scope="module")
def _one_server() -> Iterator[None]:
    with probing_by_fork():
        yield


def weighty(script: Path) -> dict[str, str]:
    """The findings a user sees without asking, by slug."""
    (tier,) = labelled(script, "tier") or {QUICK}
    seen = run_probe(str(script), tier=tier, budget=SECONDS, device="cpu")
    assert seen.stopped != "crashed", seen.error
    findings = measure(seen)
    # A finding without a place of its own points to the first line, the script's docstring.
    assert [finding.slug for finding in findings if finding.location.line == 1] == []
    return {
        finding.slug: finding.message
        for finding in findings
        if finding.severity is not Severity.INFO and finding.confidence is not Confidence.LOW
    }


@pytest.mark.parametrize("script", HEALTHY, ids=lambda script: script.stem)
def test_nothing_is_found_in_a_healthy_script(script: Path) -> None:
    assert weighty(script) == {}


@pytest.mark.parametrize("script", SICK, ids=lambda script: script.stem)
def test_the_fault_is_found_by_its_name_and_nothing_else(script: Path) -> None:
    found = weighty(script)
    assert labelled(script, "measured") <= set(found)
    assert set(found) <= labelled(script, "measured") | labelled(script, "measured-also")


def test_labels_name_rules() -> None:
    for script in SICK:
        named = labelled(script, "measured") | labelled(script, "measured-also")
        assert {slug for slug in named if find_rule(slug) is None} == set(), script.name
        assert labelled(script, "measured"), script.name


def test_every_measured_rule_has_two_scripts() -> None:
    scripts = defaultdict(set)
    ranks = (FIXTURES / "measured" / "ranks" / "sick").glob("*.py")
    for script in (*SICK, *WHOLE_SCRIPTS, *ranks):
        for slug in labelled(script, "measured"):
            scripts[slug].add(script.name)
    twice = {slug for slug, names in scripts.items() if len(names) >= 2}
    assert {rule.slug for rule in all_rules() if rule.has_measured()} - twice == set()


def test_there_are_enough_healthy_scripts() -> None:
    assert len(HEALTHY) >= 24
