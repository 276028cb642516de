"""The join of source and measurement, and the go / no-go that follows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from observed import observations

from convlint.audit import Decision, join, measure
from convlint.findings import Confidence, Evidence, Finding, Location, Severity, Verdict
from convlint.gpu_probes.observations import Convergence, Observations, Skipped
from convlint.outcome import SourceTexts
from convlint.rules import Rule

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCRIPT = "/project/train.py"
INFO, WARNING, ERROR = Severity.INFO, Severity.WARNING, Severity.ERROR


def at(line: int, path: str = SCRIPT) -> Location:
    return Location(path, line, 1, line, 20)


def seen(**changes: Any) -> Observations:
    values: dict[str, Any] = {
        "script": SCRIPT,
        "steps": 100,
        "seconds": 3.0,
        "backwards": 108,
        "convergence": Convergence(
            kind="converging",
            rate_class="",
            rate=None,
            noise=0.1,
            first=2.3,
            last=0.5,
            steps=100,
        ),
    }
    return observations(**{**values, **changes})


def rule(
    name: str,
    *,
    lines: tuple[int, ...] = (),
    says: str | None = None,
    level: Severity = WARNING,
    measures: bool = True,
    path: str = SCRIPT,
    **attributes: Any,
) -> Rule:
    """A rule whose measurement fires at ``lines`` and otherwise reads ``says``."""

    def measured(self: Rule, observations: Observations) -> Iterator[Finding]:
        for line in lines:
            evidence = (Evidence("measured", f"{name} shows", value=0.5),)
            yield self.finding(at(line, path), f"{name} measured", evidence=evidence)

    body: dict[str, Any] = {
        "slug": name,
        "severity": level,
        "reading": lambda self, observations: says,
        **attributes,
    }
    if measures:
        body["measured"] = measured
    # The catalogue takes direct subclasses of Rule only, so these stay out of it.
    base = type("Base", (Rule,), {})
    return type("Stub", (base,), {"code": "TST001", **body})()


def static(
    slug: str = "fault",
    line: int = 10,
    level: Severity = WARNING,
    confidence: Confidence = Confidence.MEDIUM,
    path: str = SCRIPT,
) -> Finding:
    return Finding(
        code="TST001",
        slug=slug,
        severity=level,
        confidence=confidence,
        message=f"{slug} in the source",
        location=at(line, path),
        evidence=(Evidence("static", "read"),),
    )


def judged(findings: list[Finding]) -> list[tuple[str, Verdict | None]]:
    return [(f.slug, f.judgement.verdict if f.judgement else None) for f in findings]


def test_the_same_rule_confirms_and_is_reported_once() -> None:
    findings, verdict = join([static()], seen(), [rule("fault", lines=(11,), level=ERROR)])
    (finding,) = findings
    assert finding.judgement is not None
    assert finding.judgement.verdict is Verdict.CONFIRMED
    assert finding.judgement.reason == "fault measured"
    assert finding.location == at(10)
    assert finding.severity is ERROR
    assert finding.confidence is Confidence.HIGH
    assert [item.source for item in finding.evidence] == ["static", "measured"]
    assert verdict.decision is Decision.NO_GO
    assert (verdict.confirmed, verdict.measured) == (1, 0)


def test_another_rule_confirms_and_keeps_its_own_finding() -> None:
    rules = [
        rule("fault", measures=False, confirmed_by=("symptom",)),
        rule("symptom", lines=(40,), level=ERROR),
    ]
    findings, verdict = join([static()], seen(), rules)
    assert judged(findings) == [("fault", Verdict.CONFIRMED), ("symptom", None)]
    assert findings[0].judgement is not None
    assert findings[0].judgement.reason == "symptom: symptom measured"
    assert findings[0].severity is WARNING
    assert verdict.reason.startswith("symptom is measured")


def test_a_healthy_reading_refutes_and_lowers_to_info() -> None:
    findings, verdict = join([static(level=ERROR)], seen(), [rule("fault", says="it is 0.1")])
    (finding,) = findings
    assert finding.judgement is not None
    assert finding.judgement.verdict is Verdict.REFUTED
    assert finding.judgement.reason == "it is 0.1"
    assert finding.severity is INFO
    assert verdict.decision is Decision.GO
    assert "1 finding from the source was refuted" in verdict.reason
    assert verdict.refuted == 1


def test_the_readings_of_the_rules_that_confirm_refute_as_well() -> None:
    rules = [
        rule("fault", measures=False, confirmed_by=("one", "two")),
        rule("one", says="one is fine"),
        rule("two"),
    ]
    findings, _ = join([static()], seen(), rules)
    assert findings[0].judgement is not None
    assert findings[0].judgement.reason == "one is fine"


def test_without_a_measurement_the_rule_says_why() -> None:
    rules = [rule("fault", measures=False, unmeasured_because="only the data can tell")]
    findings, verdict = join([static()], seen(), rules)
    assert judged(findings) == [("fault", Verdict.UNMEASURED)]
    assert findings[0].severity is WARNING
    assert verdict.decision is Decision.CARE
    assert "only the data can tell" in verdict.reason


def test_a_skipped_measurement_gives_its_reason() -> None:
    rules = [rule("fault", measurements=("curvature",))]
    skipped = (Skipped("curvature", "a custom Function has no second derivative"),)
    findings, _ = join([static()], seen(skipped=skipped), rules)
    assert findings[0].judgement is not None
    assert "no second derivative" in findings[0].judgement.reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "stopped before it was measured, after 100 steps"),
        ({"steps": 0}, "stopped before the first real step"),
        ({"steps": 0, "backwards": 0, "stopped": "no-training"}, "saw no training"),
    ],
)
def test_a_probe_that_stopped_early_says_so(changes: dict[str, Any], reason: str) -> None:
    findings, _ = join([static()], seen(**changes), [rule("fault")])
    assert findings[0].judgement is not None
    assert findings[0].judgement.verdict is Verdict.UNMEASURED
    assert reason in findings[0].judgement.reason


def test_the_measurement_confirms_the_finding_at_its_place_only() -> None:
    findings, _ = join(
        [static(line=10), static(line=50)], seen(), [rule("fault", lines=(51,), says="fine")]
    )
    assert judged(findings) == [("fault", Verdict.UNMEASURED), ("fault", Verdict.CONFIRMED)]


def test_a_measurement_elsewhere_confirms_the_rule() -> None:
    findings, _ = join([static(line=10)], seen(), [rule("fault", lines=(90,))])
    assert judged(findings) == [("fault", Verdict.CONFIRMED)]


def test_measurements_at_two_places_confirm_two_findings() -> None:
    findings, _ = join([static(line=10), static(line=50)], seen(), [rule("fault", lines=(10, 50))])
    assert judged(findings) == [("fault", Verdict.CONFIRMED)] * 2


def test_a_file_the_run_did_not_load_is_unmeasured() -> None:
    other = static(path="/project/other.py")
    rules = [rule("fault", lines=(10,))]
    findings, _ = join([other], seen(loaded_files=(SCRIPT, "/project/model.py")), rules)
    assert judged(findings) == [("fault", Verdict.UNMEASURED), ("fault", None)]
    assert findings[0].judgement is not None
    assert "did not load" in findings[0].judgement.reason


def test_a_cause_turns_its_symptom_into_a_note() -> None:
    rules = [
        rule("cause", lines=(5,), level=ERROR, code="LOS999"),
        rule("symptom", lines=(9,), explained_by=("LOS",)),
        rule("harsh-symptom", lines=(9,), level=ERROR, explained_by=("weak-cause",)),
        rule("weak-cause", lines=(5,)),
    ]
    findings = {finding.slug: finding for finding in measure(seen(), rules)}
    assert findings["symptom"].severity is INFO
    assert findings["symptom"].message.endswith("(follows from cause)")
    assert findings["symptom"].related[0].location == at(5)
    assert findings["harsh-symptom"].severity is ERROR


def test_a_loss_that_does_not_move_for_a_known_cause_is_no_go() -> None:
    rules = [
        rule("cause", lines=(5,)),
        rule("stalled-loss", lines=(9,), explained_by=("cause",)),
    ]
    _, verdict = join([], seen(), rules)
    assert verdict.decision is Decision.NO_GO
    assert "follows from cause" in verdict.reason


def test_a_stalled_loss_alone_asks_for_care() -> None:
    _, verdict = join([], seen(), [rule("stalled-loss", lines=(9,))])
    assert verdict.decision is Decision.CARE


@pytest.mark.parametrize(
    ("level", "decision"), [(ERROR, Decision.NO_GO), (WARNING, Decision.CARE), (INFO, Decision.GO)]
)
def test_measured_findings_decide_by_severity(level: Severity, decision: Decision) -> None:
    _, verdict = join([], seen(), [rule("fault", lines=(3,), level=level)])
    assert verdict.decision is decision


def test_the_verdict_on_a_notebook_names_cell_and_line(tmp_path: Path) -> None:
    path = tmp_path / "train.ipynb"
    sources = ["import torch\n\nmodel = None\n", "loss = 0\nloss = 1\n"]
    cells = [{"cell_type": "code", "metadata": {}, "source": s, "outputs": []} for s in sources]
    kept = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}
    path.write_text(json.dumps(kept))
    text = SourceTexts()[str(path)]
    line = text.splitlines().index("loss = 1") + 1
    fault = rule("fault", lines=(line,), path=str(path))
    (finding,), verdict = join([], seen(script=str(path)), [fault])
    assert (finding.location.cell, finding.location.shown_line) == (2, 2)
    assert verdict.reason.startswith(f"fault is measured ({path}:cell 2:2)")


def test_an_unmeasured_error_asks_for_care() -> None:
    _, verdict = join([static(level=ERROR)], seen(), [rule("fault", measures=False)])
    assert verdict.decision is Decision.CARE
    assert verdict.unmeasured == 1


def test_findings_of_low_confidence_and_notes_do_not_count() -> None:
    unsure = static(level=ERROR, confidence=Confidence.LOW)
    note = static("note", level=INFO)
    rules = [rule("fault", measures=False), rule("note", measures=False)]
    _, verdict = join([unsure, note], seen(), rules)
    assert verdict.decision is Decision.GO
    assert verdict.unmeasured == 0


def test_a_clean_run_goes_with_its_numbers() -> None:
    findings, verdict = join([], seen(), [])
    assert findings == []
    assert verdict.decision is Decision.GO
    assert verdict.reason == "the loss goes from 2.3 to 0.5 in 100 steps (converging)"


def test_a_go_does_not_rest_on_the_loss_of_one_of_several_players() -> None:
    _, verdict = join([], seen(recognised=("several optimizers",)), [])
    assert verdict.decision is Decision.GO
    assert verdict.reason == (
        "nothing was found over 100 steps; the loss goes from 2.3 to 0.5, which says little: its "
        "goal moves"
    )


@pytest.mark.parametrize(
    ("changes", "decision", "reason"),
    [
        (
            {"stopped": "crashed", "error": "ValueError: bad shape", "steps": 0, "backwards": 0},
            Decision.NO_GO,
            "raised before its first training step: ValueError: bad shape",
        ),
        (
            {"stopped": "crashed", "error": "ValueError: bad shape", "steps": 12},
            Decision.NO_GO,
            "raised after 12 steps: ValueError: bad shape",
        ),
        (
            {"stopped": "no-training", "steps": 0, "backwards": 0},
            Decision.NO_GO,
            "ended without a training step",
        ),
        (
            {"stopped": "exited", "steps": 0, "backwards": 0},
            Decision.NO_GO,
            "exited before its first training step",
        ),
        (
            {"stopped": "budget", "steps": 0, "backwards": 0, "seconds": 60.0},
            Decision.CARE,
            "had not begun to train when its 60 s were used up",
        ),
        ({"steps": 0}, Decision.CARE, "no real step was taken"),
        (
            {"stopped": "budget", "steps": 5},
            Decision.CARE,
            "only 5 steps were run within the budget; raise --budget",
        ),
    ],
)
def test_runs_that_show_no_training(
    changes: dict[str, Any], decision: Decision, reason: str
) -> None:
    _, verdict = join([], seen(**changes), [])
    assert verdict.decision is decision
    assert reason in verdict.reason


def test_a_script_that_could_not_be_probed_leaves_everything_open() -> None:
    findings, verdict = join([static()], None, [rule("fault", lines=(10,))])
    assert judged(findings) == [("fault", Verdict.UNMEASURED)]
    assert verdict.decision is Decision.CARE


def test_a_rare_fault_is_not_refuted_by_a_quiet_horizon() -> None:
    rules = [rule("fault", says="largest spike 2 times its neighbours", silence_refutes=False)]
    findings, verdict = join([static()], seen(), rules)
    assert judged(findings) == [("fault", Verdict.UNMEASURED)]
    assert findings[0].severity is WARNING
    assert verdict.decision is Decision.CARE
    assert findings[0].judgement is not None
    assert "largest spike 2 times" in findings[0].judgement.reason


def test_a_confirmed_finding_decides_before_a_measured_one() -> None:
    rules = [
        rule("fault", lines=(10,), level=ERROR),
        rule("other", lines=(2,), level=ERROR),
    ]
    _, verdict = join([static()], seen(), rules)
    assert verdict.reason.startswith("fault is confirmed")
    assert verdict.reason.endswith("and 1 more")


def test_findings_come_in_order_of_place() -> None:
    rules = [rule("late", lines=(70,)), rule("early", lines=(3,)), rule("fault", says="fine")]
    findings, _ = join([static(line=30)], seen(), rules)
    assert [finding.location.line for finding in findings] == [3, 30, 70]
