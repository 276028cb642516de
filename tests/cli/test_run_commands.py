"""``probe`` and ``audit`` around a run that is made up: what is said, where, and the exit code."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from made_up_runs import HEALTHY, NEVER, output_of

from convlint.audit import Decision, RunVerdict
from convlint.findings import Finding, Judgement, Verdict
from convlint.gpu_probes.observations import (
    Measurement,
    Plan,
    Series,
    Skipped,
)
from convlint.gpu_probes.observations.remedies import Remedies, Remedy
from convlint.targets import Target

pytestmark = pytest.mark.usefixtures("stub_rules")


@pytest.fixture
def measured(monkeypatch, stub_rules):
    """Make rules find something in every run."""

    def find(slug: str, line: int = 2) -> None:
        rule = next(rule for rule in stub_rules if rule.slug == slug)

        def judge(seen):
            from convlint.findings import Location

            place = str(Path(seen.script).resolve())
            yield rule.finding(Location(place, line, 1, line, 1), f"measured {slug}")

        monkeypatch.setattr(type(rule), "measured", lambda _, seen: judge(seen))

    return find


@pytest.fixture
def joined(monkeypatch):
    """Make the join give every static finding one verdict."""

    def set_verdict(verdict: Verdict, decision: Decision, severity=None) -> None:
        def join(static, seen, rules):
            import msgspec

            findings: list[Finding] = [
                msgspec.structs.replace(
                    finding,
                    severity=severity or finding.severity,
                    judgement=Judgement(verdict, "the loss fell"),
                )
                for finding in static
            ]
            return findings, RunVerdict(decision=decision, reason="because")

        monkeypatch.setattr("convlint.cli.auditing.join", join)

    return set_verdict


def test_probe_says_that_it_runs_the_script_before_it_does(convlint, write, run):
    write("a.py")
    result = convlint("probe", "a.py", "--steps", "5", "--budget", "7.5")
    assert result.exit_code == 0
    assert result.stderr == (
        "convlint: running a.py for up to 5 steps or 7.5 s; the files it writes are held back\n"
    )
    assert "8 batches held at the initial parameters, 100 steps" in result.stdout
    assert result.stdout.endswith("Nothing found.\n")


@pytest.mark.parametrize(
    ("tier", "bounds"),
    [
        ("quick", "30 steps or 30 s"),
        ("standard", "100 steps or 60 s"),
        ("deep", "200 steps or 300 s"),
    ],
)
def test_the_tier_gives_the_bounds_that_are_not_given(convlint, write, run, tier, bounds):
    write("a.py")
    result = convlint("probe", "a.py", "--tier", tier)
    assert f"running a.py for up to {bounds};" in result.stderr
    assert run.called[1]["tier"] == tier


def test_remedies_get_time_of_their_own(convlint, write, run):
    write("a.py")
    assert "for up to 100 steps or 180 s;" in convlint("probe", "a.py", "--remedies").stderr
    quick = convlint("probe", "a.py", "--remedies", "--tier", "quick")
    assert "for up to 100 steps or 150 s;" in quick.stderr
    deep = convlint("audit", "a.py", "--remedies", "--tier", "deep")
    assert "for up to 200 steps or 300 s;" in deep.stderr
    given = convlint("audit", "a.py", "--remedies", "--budget", "9")
    assert "for up to 100 steps or 9 s;" in given.stderr


def test_options_and_the_scripts_own_arguments_reach_the_run(convlint, write, run):
    write("a.py")
    convlint(
        *("probe", "a.py", "--no-hold", "--device", "cuda:1", "--seed", "3", "--allow-writes"),
        *("--python", "/usr/bin/python3", "--show-output", "--remedies"),
        *("--isolate", "overlay"),
        *("--", "--lr", "0.1", "-q"),
    )
    assert run.called is not None
    arguments, options = run.called
    assert arguments == (Target("a.py", ("--lr", "0.1", "-q"), python="/usr/bin/python3"),)
    assert callable(options.pop("on_inputs"))
    assert options == {
        "tier": "standard",
        "steps": None,
        "hold": 0,
        "budget": None,
        "remedies": True,
        "device": "cuda:1",
        "memory_limit": None,
        "allow_writes": True,
        "isolate": "overlay",
        "allow_network": False,
        "seed": 3,
        "progress": None,
        "script_output": "stderr",
    }


@pytest.mark.parametrize("command", ["probe", "audit"])
def test_the_cost_of_the_whole_run_is_told_in_money_too(convlint, write, run, command):
    write("a.py")
    run.seen = dataclasses.replace(
        HEALTHY,
        series=Series(seconds=(0.5,) * 100),
        plan=Plan(epochs=10, batches_per_epoch=720),
    )
    result = convlint(command, "a.py", "--price-per-hour", "2")
    assert "whole run      about 60 min, 2.00: 7200 steps (10 epochs" in result.stdout
    assert "this probe     3 s, 0.0017 (0.0833 % of the run)" in result.stdout
    output = output_of(
        convlint(command, "a.py", "--price-per-hour", "2", "--output-format", "json")
    )
    assert output["cost"]["run_seconds"] == 3600.0
    assert output["cost"]["run_price"] == 2.0


@pytest.mark.parametrize("command", ["probe", "audit"])
def test_a_report_is_written_beside_what_is_printed(convlint, write, run, tmp_path, command):
    write("a.py")
    result = convlint(command, "a.py", "--report", "r.html", "--report", "r.md")
    assert result.exit_code == 0
    assert "100 steps" in result.stdout
    page = (tmp_path / "r.html").read_text()
    assert page.lstrip().startswith("<!doctype html>")
    assert "100 steps; all planned steps were run" in page
    assert f"convlint {command} of `a.py`" in (tmp_path / "r.md").read_text()


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("r.pdf", "r.pdf: a report's name ends in one of .html, .htm, .md; give --report another"),
        ("none/r.html", "none/r.html: cannot write the report: its directory does not exist"),
        ("d.html", "d.html: cannot write the report: is a directory"),
    ],
)
def test_a_report_that_cannot_be_written_is_told_before_the_run(
    convlint, write, run, tmp_path, name, complaint
):
    write("a.py")
    (tmp_path / "d.html").mkdir()
    result = convlint("audit", "a.py", "--report", name)
    assert result.exit_code == 2
    assert result.stderr == f"convlint: {complaint}\n"
    assert run.called is None


def test_a_report_without_jinja2_names_what_to_install(convlint, write, run, monkeypatch):
    write("a.py")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = convlint("probe", "a.py", "--report", "r.html")
    assert result.exit_code == 2
    assert "the HTML report needs jinja2: pip install 'convlint[report]'" in result.stderr
    assert run.called is None


def test_measured_findings_are_shown_at_the_line_and_fail(convlint, write, run, measured):
    write("a.py", "optimizer = 1")
    measured("odd-loop")
    result = convlint("probe", "a.py", "-q")
    assert result.exit_code == 1
    assert result.stdout.startswith("a.py:2:1: warning odd-loop (LPX002)\n  measured odd-loop\n")
    assert "2 | optimizer = 1" in result.stdout
    assert result.stderr == ""
    assert convlint("probe", "a.py", "--ignore", "odd-loop").exit_code == 0
    assert convlint("probe", "a.py", "--fail-on", "error").exit_code == 0


def test_json_has_the_observations_and_nothing_else_on_stdout(convlint, write, run, measured):
    write("a.py", "optimizer = 1")
    measured("odd-loop")
    output = output_of(convlint("probe", "a.py", "--output-format", "json"))
    assert [finding["path"] for finding in output["findings"]] == ["a.py"]
    assert output["observations"]["steps"] == 100
    assert output["verdict"] is None


@pytest.mark.parametrize("stopped", ["no-training", "budget"])
def test_script_that_starts_other_interpreters_is_told_that_they_are_not_followed(
    convlint, write, run, stopped
):
    write("a.py")
    skipped = Skipped("writes of other programs", "the script started /usr/bin/python3")
    run.seen = dataclasses.replace(NEVER, stopped=stopped, skipped=(skipped,))
    result = convlint("probe", "a.py", "-q")
    assert result.exit_code == 2
    assert "it starts processes of its own, which are not followed" in result.stderr


def test_audit_begins_with_the_verdict(convlint, write, run):
    write("a.py", "error()")
    result = convlint("audit", "a.py")
    assert result.exit_code == 1
    assert "  = unmeasured: " in result.stdout
    assert result.stdout.startswith("Verdict: go with care: broken-loop ")
    output = output_of(convlint("audit", "a.py", "--output-format", "json"))
    assert output["verdict"]["decision"] == "go with care"
    assert output["findings"][0]["verdict"]["verdict"] == "unmeasured"


@pytest.mark.parametrize("command", ["probe", "audit"])
def test_the_table_of_remedies_is_shown_where_changes_were_tried(convlint, write, run, command):
    write("a.py")
    change = {"code": "SGD(..., lr=0.1)", "predicted": "", "course": (0.5, 0.4), "orders": 6}
    better = Remedy(
        "learning rate", "a lower rate", outcome="better", effect=Measurement(1.5, "loss", 6),
        share=0.8, p=0.001, loss=0.4, **change,
    )  # fmt: skip
    keep = dataclasses.replace(better, kind="keep", outcome="", effect=None, loss=1.9)
    code = dataclasses.replace(better, kind="code", change="nothing found", answers=("no-slug",))
    remedies = Remedies((code, better, keep), 2.3, 2.3, 200, (100, 200), 100, 6, 6)
    run.seen = dataclasses.replace(HEALTHY, remedies=remedies)
    printed = convlint(command, "a.py").stdout
    assert "   1. a lower rate: loss lower by 1.5, at 0.4" in printed
    assert "nothing found" not in printed
    assert ("Most valuable changes:" in printed) == (command == "audit")
    stored = output_of(convlint(command, "a.py", "--output-format", "json"))
    assert [r["kind"] for r in stored["observations"]["remedies"]["tried"]] == [
        "learning rate",
        "keep",
    ]


def test_healthy_audit_is_go(convlint, write, run):
    write("a.py")
    result = convlint("audit", "a.py")
    assert result.exit_code == 0
    assert "Verdict: go: " in result.stdout


def test_refuted_finding_stays_visible_and_does_not_fail(convlint, write, run, joined):
    from convlint.findings import Severity

    write("a.py", "warning()", "info()")
    joined(Verdict.REFUTED, Decision.GO, Severity.INFO)
    result = convlint("audit", "a.py", "--output-format", "concise")
    assert result.exit_code == 0
    assert "a.py:2:1: info odd-loop (LPX002) found warning [refuted]" in result.stdout
    assert "notable-loss" not in result.stdout


def test_no_go_fails_even_below_fail_on(convlint, write, run, joined):
    write("a.py", "warning()")
    joined(Verdict.CONFIRMED, Decision.NO_GO)
    result = convlint("audit", "a.py", "--fail-on", "error")
    assert result.exit_code == 1
    assert result.stdout.startswith("Verdict: no-go: because\n")


def test_rule_that_fails_on_a_run_is_named_and_the_others_go_on(
    convlint, write, run, measured, stub_rules, monkeypatch
):
    write("a.py", "optimizer = 1")
    measured("odd-loop")

    def broken(_, seen):
        raise KeyError("series")

    monkeypatch.setattr(type(stub_rules[0]), "measured", broken)
    for command in ("probe", "audit"):
        result = convlint(command, "a.py", "-q")
        assert result.exit_code == 2
        assert "warning odd-loop" in result.stdout
        assert result.stderr == (
            "convlint: a.py: rule broken-loop failed with KeyError: 'series'"
            " (a fault of convlint, please report it)\n"
        )
