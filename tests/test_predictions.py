"""What measured rules predict: declared by every rule that can confirm, and shown to readers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from convlint import gpu_probes
from convlint.cli.group import main
from convlint.gpu_probes.measurements import MEASUREMENTS
from convlint.predictions import Prediction, confirmations_of
from convlint.rules import all_rules, find_rule

CONFIRMABLE = [rule for rule in all_rules() if rule.has_static() and confirmations_of(rule)]


@pytest.mark.parametrize("rule", all_rules(), ids=lambda rule: rule.slug)
def test_every_measurement_that_confirms_says_what_it_predicts(rule):
    if not rule.has_static():
        return
    witnesses = {slug for slug in rule.confirmed_by if find_rule(slug).has_measured()}
    if rule.has_measured():
        witnesses.add(rule.slug)
    assert {confirmation.rule for confirmation in confirmations_of(rule)} == witnesses


def test_no_rule_declares_a_witness_that_measures_nothing():
    for rule in all_rules():
        for slug in rule.confirmed_by:
            assert find_rule(slug).has_measured(), f"{rule.slug}: {slug}"


@pytest.mark.parametrize(
    ("relation", "below", "at", "above"),
    [
        ("above", False, False, True),
        ("at least", False, True, True),
        ("below", True, False, False),
        ("equals", False, True, False),
        ("is not", True, False, True),
    ],
)
def test_a_prediction_holds_on_its_side_of_the_bound(relation, below, at, above):
    prediction = Prediction("share", relation, 0.3)
    assert (prediction.holds(0.2), prediction.holds(0.3), prediction.holds(0.4)) == (
        below,
        at,
        above,
    )
    assert str(prediction) == f"share {relation} 0.3"


def test_the_catalogue_shows_which_findings_the_audit_tests():
    run = CliRunner().invoke(main, ["rules"])
    ways = {line.split()[1]: line for line in run.output.splitlines() if " static " in f"{line} "}
    assert " static + tested " in ways["deep-saturating-stack"]
    assert " static + measured " in ways["zero-grad-missing"]
    assert "tested" not in ways["zero-grad-missing"]
    assert f"audit tests the findings of {len(CONFIRMABLE)} static ones" in run.output


def test_a_rule_shows_what_it_predicts_with_what_the_probe_needs():
    run = CliRunner().invoke(main, ["rule", "deep-saturating-stack"])
    assert "- gradient first/last below 0.001 (`vanishing-gradient`); needs gradient flow" in (
        run.output
    )
    run = CliRunner().invoke(main, ["rules", "--output-format", "json"])
    (described,) = [r for r in json.loads(run.output) if r["slug"] == "deep-saturating-stack"]
    assert described["confirmations"][0] == {
        "rule": "vanishing-gradient",
        "prediction": {"quantity": "gradient first/last", "relation": "below", "bound": 0.001},
        "needs": ["gradient flow"],
    }


def test_what_a_rule_needs_is_a_name_under_which_the_probe_reports_what_it_left_out():
    named = re.compile(r'\b(?:section|ask|ask_one|skip|Skipped)\(\s*"([^"]+)"')
    reported = {
        name
        for folder in gpu_probes.__path__
        for file in Path(folder).rglob("*.py")
        for name in named.findall(file.read_text())
    }
    needed = {name: rule.slug for rule in all_rules() for name in rule.measurements}
    assert {n: slug for n, slug in needed.items() if n not in reported | set(MEASUREMENTS)} == {}
