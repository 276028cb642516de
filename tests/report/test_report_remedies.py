"""The table of remedies in words, and which changes belong into it."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from test_report_measured import observations, plain

from convlint.findings import Confidence, Finding, Judgement, Location, Severity, Verdict
from convlint.gpu_probes.observations import Measurement, Observations, Place
from convlint.gpu_probes.observations.remedies import Remedies, Remedy
from convlint.remedies import fitting, most_valuable
from convlint.report.remedies import measured_text, remedy_lines, valuable_lines

LOWER = Remedy(
    kind="learning rate",
    change="learning rate 1 → 0.1 (× 0.1)",
    code="SGD(..., lr=0.1)",
    predicted="below 0.7, where a step diverges",
    outcome="better",
    effect=Measurement(1.5, "loss", 6, (1.25, 1.75)),
    share=0.8,
    p=0.001,
    loss=0.4,
    course=(1.9, 1.1, 0.7, 0.4),
    orders=6,
    place=Place("/nowhere/train.py", 7),
)
KEEP = Remedy("keep", "keep everything as it is", "", "", "", None, None, None, 1.9, (1.9,), 6)
CLIPPED = replace(
    LOWER,
    kind="clipping",
    change="clip the gradients' norm at 1",
    outcome="worse",
    effect=Measurement(-0.25, "loss", 6, (-0.5, -0.125)),
    loss=2.15,
)
EARLY = replace(
    LOWER, change="warm-up", outcome="given up early", effect=None, loss=None, course=(2.2, 2.1)
)
NO_SOFTMAX = replace(
    LOWER, kind="code", change="no softmax", answers=("softmax-into-cross-entropy",), place=None
)
TABLE = Remedies(
    tried=(LOWER, KEEP, EARLY, CLIPPED),
    initial=2.3,
    untrained=2.3,
    horizon=200,
    checkpoints=(50, 100, 150, 200),
    batches=100,
    held_out=6,
    orders=6,
)


def found(
    slug: str, verdict: Verdict | None = None, severity: Severity = Severity.ERROR
) -> Finding:
    return Finding(
        code="LOS001",
        slug=slug,
        severity=severity,
        confidence=Confidence.HIGH,
        message="twice",
        location=Location("train.py", 1, 1, 1, 2),
        judgement=None if verdict is None else Judgement(verdict, "measured"),
    )


def test_a_better_change_comes_with_prediction_interval_and_code():
    assert plain(remedy_lines(TABLE)) == [
        "Remedies: 3 changes tried over 200 steps on 100 recorded batches in 6 orders, judged by"
        " the mean loss on 6 others (2.3 at the start).",
        "   1. learning rate 1 → 0.1 (× 0.1): loss lower by 1.5 (1.25 to 1.75), at 0.4",
        "      predicted: below 0.7, where a step diverges",
        "      write: /nowhere/train.py:7: SGD(..., lr=0.1)",
        "   -  the run as it is (loss 1.9)",
        "      given up early: warm-up (loss 2.1)",
        "      worse: clip the gradients' norm at 1 (loss higher by 0.25 (0.125 to 0.5), at 2.15)",
        "",
    ]


def test_a_lead_that_is_certain_but_small_is_not_called_indistinguishable():
    table = replace(TABLE, tried=(KEEP, replace(LOWER, outcome="hardly better")))
    lines = plain(remedy_lines(table))
    assert "keep the run as it is (loss 1.9): no change tried is better by much" in lines[1]
    assert lines[2].startswith("      hardly better: learning rate 1 → 0.1 (× 0.1) (loss lower by")


def test_where_nothing_is_better_the_answer_is_to_keep_the_run():
    table = replace(TABLE, tried=(KEEP, replace(LOWER, outcome="not distinguishable")))
    lines = plain(remedy_lines(table))
    assert "keep the run as it is (loss 1.9): no change tried is distinguishably better" in lines[1]
    assert plain(valuable_lines(table)) == [
        "Most valuable change: keep the run as it is (loss 1.9): no change tried is"
        " distinguishably better"
    ]


def test_at_most_three_changes_are_called_most_valuable_one_of_each_kind():
    others = [replace(LOWER, kind=kind) for kind in ("momentum", "optimizer", "clipping")]
    table = replace(TABLE, tried=(LOWER, replace(LOWER, change="lower still"), *others, KEEP))
    assert most_valuable(table) == [LOWER, *others[:2]]
    assert len(plain(valuable_lines(table))) == 4
    code = [replace(NO_SOFTMAX, change=change) for change in ("no softmax", "no detach")]
    assert most_valuable(replace(TABLE, tried=(*code, KEEP))) == code


def test_a_loss_that_has_left_is_not_given_as_a_number():
    gone = replace(TABLE, limit=4.6, tried=(LOWER, replace(KEEP, loss=4.6)))
    assert "the run as it is (loss above 4.6)" in plain(remedy_lines(gone))[4]


def test_a_corrected_loss_is_said_to_judge_all():
    line = plain(remedy_lines(replace(TABLE, measure="the loss of the scores")))[0]
    assert line.endswith("(2.3 at the start); for all of them that is the loss of the scores.")


@pytest.mark.parametrize(
    ("findings", "shown"),
    [
        ([], False),
        ([found("softmax-into-cross-entropy")], True),
        ([found("softmax-into-cross-entropy", Verdict.CONFIRMED)], True),
        ([found("softmax-into-cross-entropy", Verdict.REFUTED)], False),
        ([found("zero-grad-missing")], False),
        ([found("softmax-into-cross-entropy", severity=Severity.INFO)], False),
    ],
)
def test_a_change_of_the_code_needs_a_finding_it_answers(findings, shown):
    seen = observations(remedies=replace(TABLE, tried=(NO_SOFTMAX, LOWER, KEEP)))
    kept = fitting(seen, findings).remedies
    assert kept is not None
    assert (NO_SOFTMAX in kept.tried) == shown
    assert LOWER in kept.tried and KEEP in kept.tried


def test_remedies_travel_as_json():
    seen = observations(remedies=TABLE)
    assert msgspec.json.decode(msgspec.json.encode(seen), type=Observations) == seen


def test_a_run_without_remedies_stays_as_it_is():
    assert fitting(observations(), []) == observations()


def test_an_effect_the_wrong_way_is_told_as_such():
    assert measured_text(CLIPPED) == "worse: loss higher by 0.25 (0.125 to 0.5), at 2.15"
