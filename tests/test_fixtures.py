"""The training scripts in ``fixtures/``: every labelled fault is found, and nothing else.

Labels are comments in the scripts:

* ``# expect: slug, slug`` at the end of a line: the findings from source at exactly that line;
* ``# measured: slug, slug``: what the probe must find;
* ``# measured-also: slug -- reason``: what may accompany it, and why;
* ``# verdict: go`` (``go with care``, ``no-go``): the verdict of the audit.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from probe_server import probing_by_fork

from convlint.audit import join, measure
from convlint.engine import check_paths
from convlint.findings import Confidence, Finding, Severity, Verdict
from convlint.gpu_probes.measurements import MEASUREMENTS, QUICK, STANDARD
from convlint.launch import _start as started_by_launch
from convlint.launch import run_probe
from convlint.rules import find_rule
from convlint.settings import Overrides

if TYPE_CHECKING:
    from collections.abc import Iterable

    from convlint.gpu_probes.observations import Observations

FIXTURES = Path(__file__).parent.parent / "fixtures"
HEALTHY = sorted(FIXTURES.glob("healthy/*.py"))
SICK = sorted(FIXTURES.glob("sick/*.py"))
STEPS = 60
HELD = 8
SECONDS = 300.0
"""A budget no fixture reaches on an idle machine, so that a loaded one sees the same steps."""


class Labels(NamedTuple):
    """What a script says must be found in it."""

    static: frozenset[tuple[int, str]]
    measured: frozenset[str]
    measured_also: frozenset[str]
    verdict: str


def slugs(text: str) -> list[str]:
    return [slug.strip() for slug in text.split(",")]


@functools.cache
def labels(script: Path) -> Labels:
    """Read the label comments of a script."""
    static: set[tuple[int, str]] = set()
    headers: dict[str, list[str]] = {"measured": [], "measured-also": [], "verdict": []}
    for number, line in enumerate(script.read_text().splitlines(), start=1):
        if expected := re.search(r"# expect: (.+)$", line):
            static.update((number, slug) for slug in slugs(expected[1]))
        if header := re.match(r"# (measured|measured-also|verdict): (.+?)(?: -- .+)?$", line):
            headers[header[1]] += slugs(header[2])
    (verdict,) = headers["verdict"]
    return Labels(
        frozenset(static),
        frozenset(headers["measured"]),
        frozenset(headers["measured-also"]),
        verdict,
    )


@functools.cache
def static_findings(script: Path) -> tuple[Finding, ...]:
    """What the source shows, in doubt or merely worth knowing too, as the audit reads it."""
    everything = Overrides(min_confidence=Confidence.LOW, show_info=True)
    outcome = check_paths((script,), everything)
    assert not outcome.problems
    assert not outcome.faults
    return tuple(outcome.findings)


def cheapest_tier(script: Path) -> str:
    """A healthy script is measured in every way; a sick one as far as its labels ask."""
    if script in HEALTHY:
        return STANDARD
    rules = [find_rule(slug) for slug in labels(script).measured]
    needed = {name for rule in rules if rule is not None for name in rule.measurements}
    dear = [name for name, declared in MEASUREMENTS.items() if declared.tier != QUICK]
    return STANDARD if any(d.startswith(name) for d in dear for name in needed) else QUICK


@functools.cache
def observations(script: Path) -> Observations:
    """One probe per script, shared by all its tests in this process."""
    tier = cheapest_tier(script)
    seen = run_probe(str(script), tier=tier, steps=STEPS, hold=HELD, budget=SECONDS, device="cpu")
    assert seen.stopped in ("steps", "finished"), seen.error
    return seen


def weighty(findings: Iterable[Finding]) -> list[Finding]:
    """The findings a user sees without asking: warnings and errors we are sure enough of."""
    return [
        finding
        for finding in findings
        if finding.severity is not Severity.INFO and finding.confidence is not Confidence.LOW
    ]


def described(findings: Iterable[Finding]) -> str:
    return "\n".join(f"{f.location.line}: {f.slug}: {f.message}" for f in findings)


def per_script(scripts: list[Path]) -> pytest.MarkDecorator:
    """One test per script; with ``pytest -n --dist loadgroup`` all of a script in one process."""
    return pytest.mark.parametrize(
        "script",
        [
            pytest.param(script, id=script.stem, marks=pytest.mark.xdist_group(script.stem))
            for script in scripts
        ],
    )


@pytest.fixture(autouse=True, scope="module")
def _one_server() -> Iterable[None]:
    """One import of torch serves all probes of this module."""
    with probing_by_fork():
        yield


def test_there_are_enough_scripts() -> None:
    assert len(HEALTHY) >= 8
    assert len(SICK) >= 10


@per_script(SICK)
def test_measured_evidence_is_what_the_rules_predict(script: Path) -> None:
    for finding in measure(observations(script)):
        rule = find_rule(finding.slug)
        if rule is None or rule.prediction is None:
            continue
        for evidence in finding.evidence:
            if evidence.quantity == rule.prediction.quantity and evidence.value is not None:
                assert rule.prediction.holds(evidence.value), f"{finding.slug}: {evidence}"


@per_script(HEALTHY + SICK)
def test_labels_name_rules(script: Path) -> None:
    expected = labels(script)
    named = {slug for _, slug in expected.static} | expected.measured | expected.measured_also
    assert {slug for slug in named if find_rule(slug) is None} == set()
    assert expected.verdict in ("go", "go with care", "no-go")


@per_script(HEALTHY)
def test_healthy_scripts_expect_nothing(script: Path) -> None:
    assert labels(script) == Labels(frozenset(), frozenset(), frozenset(), "go")


@per_script(SICK)
def test_sick_scripts_expect_something(script: Path) -> None:
    expected = labels(script)
    assert expected.static or expected.measured
    assert expected.verdict != "go"


@per_script(HEALTHY + SICK)
def test_source_shows_exactly_the_labelled_faults(script: Path) -> None:
    found = weighty(static_findings(script))
    assert {(f.location.line, f.slug) for f in found} == labels(script).static, described(found)


@per_script(HEALTHY + SICK)
def test_probe_finds_the_labelled_faults_and_no_other(script: Path) -> None:
    found = weighty(measure(observations(script)))
    found_slugs = {finding.slug for finding in found}
    expected = labels(script)
    assert expected.measured - found_slugs == set(), described(found)
    assert found_slugs - expected.measured - expected.measured_also == set(), described(found)


@per_script(HEALTHY + SICK)
def test_audit_gives_the_labelled_verdict(script: Path) -> None:
    findings, verdict = join(static_findings(script), observations(script))
    assert str(verdict.decision) == labels(script).verdict, verdict.reason
    if verdict.decision == "go":
        assert weighty(findings) == []


@per_script(SICK)
def test_audit_confirms_what_source_and_probe_both_show(script: Path) -> None:
    expected = labels(script)
    findings, _ = join(static_findings(script), observations(script))
    judged = {
        (f.location.line, f.slug): f.judgement.verdict for f in findings if f.judgement is not None
    }
    for line, slug in expected.static:
        if slug in expected.measured:
            assert judged[line, slug] is Verdict.CONFIRMED
        else:
            assert judged[line, slug] is not Verdict.REFUTED


def test_a_probe_in_an_interpreter_of_its_own_sees_what_a_forked_one_sees() -> None:
    script = FIXTURES / "sick" / "digits_softmax_output.py"
    bounds = {"tier": QUICK, "steps": 5, "budget": SECONDS, "device": "cpu"}
    forked = run_probe(str(script), **bounds)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("convlint.launch._start", started_by_launch)
        own = run_probe(str(script), **bounds)
    assert own.series.loss == forked.series.loss
    assert own.losses == forked.losses
    assert own.parameters == forked.parameters


def test_probe_without_hold_changes_no_printed_loss_and_keeps_no_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, probed = tmp_path / "plain", tmp_path / "probed"
    for folder in (plain, probed):
        folder.mkdir()
        shutil.copy(FIXTURES / "healthy" / "digits_mlp.py", folder)
    run = subprocess.run(
        [sys.executable, "digits_mlp.py"], cwd=plain, capture_output=True, text=True, check=True
    )
    assert (plain / "digits_mlp.pt").exists()

    capfd.readouterr()
    before = Path.cwd()
    os.chdir(probed)
    try:
        monkeypatch.setattr("convlint.launch._start", started_by_launch)
        seen = run_probe("digits_mlp.py", steps=70, hold=0, budget=SECONDS, script_output="stderr")
    finally:
        os.chdir(before)
    printed = [line for line in capfd.readouterr().err.splitlines() if line.startswith("epoch")]
    # 70 steps are 3 epochs of 23 batches and one step.
    assert len(printed) == 3
    assert printed == run.stdout.splitlines()[:3]
    assert [path.name for path in probed.iterdir()] == ["digits_mlp.py"]
    assert any(path.endswith("digits_mlp.pt") for path in seen.writes_held_back)
