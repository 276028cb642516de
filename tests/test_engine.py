from __future__ import annotations

import pytest

import convlint
from convlint.config import SettingsFinder
from convlint.engine import Outcome, check_paths, check_source, keep_wanted
from convlint.errors import UserError
from convlint.findings import (
    Confidence,
    Finding,
    Judgement,
    Location,
    Severity,
    Verdict,
)
from convlint.selection import RuleChoice
from convlint.settings import Overrides

pytestmark = pytest.mark.usefixtures("stub_rules")


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path, *lines: str):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("import torch\n" + "\n".join(lines) + "\n")


def found(outcome: Outcome) -> list[tuple[str, int, str]]:
    return [(f.location.path, f.location.line, f.slug) for f in outcome.findings]


def test_findings_of_all_files_come_in_order_of_place(project):
    write(project / "b.py", "warning()", "error()")
    write(project / "a.py", "error()")
    outcome = check_paths(["."])
    assert found(outcome) == [
        ("a.py", 2, "broken-loop"),
        ("b.py", 2, "odd-loop"),
        ("b.py", 3, "broken-loop"),
    ]
    assert (outcome.files, outcome.failing, outcome.problems) == (2, 3, [])


def test_file_without_a_library_is_not_even_parsed(project):
    (project / "a.py").write_text("unparsable\n")
    outcome = check_paths(["a.py"])
    assert (outcome.files, outcome.problems) == (1, [])


def test_syntax_error_is_one_line_and_the_other_files_are_checked(project):
    write(project / "a.py", "  unparsable")
    write(project / "b.py", "error()")
    outcome = check_paths(["a.py", "b.py", "missing.py"])
    assert found(outcome) == [("b.py", 2, "broken-loop")]
    assert outcome.files == 1
    assert sorted(map(str, outcome.problems)) == [
        "a.py:2:3: cannot parse: unmatched ')'",
        "missing.py: no such file or directory",
    ]


def test_rule_that_fails_is_named_and_the_others_go_on(project):
    write(project / "a.py", "error()", "crash()")
    outcome = check_paths(["a.py"])
    assert found(outcome) == [("a.py", 2, "broken-loop")]
    assert [str(fault) for fault in outcome.faults] == [
        "a.py: rule failing-rule failed with KeyError: 'lr' (a fault of convlint, please report it)"
    ]


def test_finding_repeated_at_the_same_place_is_said_once(project):
    write(project / "a.py", "twice()")
    assert found(check_paths(["a.py"])) == [("a.py", 2, "broken-loop"), ("a.py", 2, "failing-rule")]


def test_info_is_hidden_until_asked_for_or_selected(project):
    write(project / "a.py", "info()")
    outcome = check_paths(["a.py"])
    assert (outcome.findings, outcome.hidden) == ([], 1)
    for overrides in (
        Overrides(show_info=True),
        Overrides(fail_on=Severity.INFO),
        Overrides(rules=RuleChoice(select=("LSX001",))),
        Overrides(rules=RuleChoice(extend_select=("notable-loss",))),
    ):
        assert found(check_paths(["a.py"], overrides)) == [("a.py", 2, "notable-loss")]


def test_doubtful_findings_are_hidden_until_confidence_is_lowered(project):
    write(project / "a.py", "doubtful()")
    assert found(check_paths(["a.py"])) == []
    overrides = Overrides(min_confidence=Confidence.LOW)
    assert found(check_paths(["a.py"], overrides)) == [("a.py", 2, "doubtful-loss")]


def test_fail_on_decides_what_counts_as_failing(project):
    write(project / "a.py", "warning()", "error()")
    assert check_paths(["a.py"], Overrides(fail_on=Severity.ERROR)).failing == 1
    assert check_paths(["a.py"], Overrides(fail_on=Severity.WARNING)).failing == 2


def test_comments_and_per_file_ignores_silence(project):
    write(project / "a.py", "error()  # convlint: ignore[LPX001] on purpose", "warning()")
    (project / "convlint.toml").write_text('[per-file-ignores]\n"a.py" = ["odd-loop"]\n')
    assert found(check_paths(["."])) == []


def test_excluded_files_are_left_out_of_a_walk_but_not_when_named(project):
    write(project / "old" / "a.py", "error()")
    (project / "convlint.toml").write_text('exclude = ["old/"]\n')
    assert check_paths(["."]).files == 0
    assert check_paths(["old/a.py"]).files == 1


def test_each_project_has_its_own_settings(project):
    for name in ("one", "two"):
        write(project / name / "a.py", "error()")
    (project / "two" / "convlint.toml").write_text('ignore = ["broken-loop"]\n')
    assert found(check_paths(["one", "two"])) == [("one/a.py", 2, "broken-loop")]


def test_test_code_is_judged_one_level_down(project):
    write(project / "tests" / "a.py", "error()", "warning()")
    outcome = check_paths(["."], Overrides(show_info=True))
    severities = [finding.severity for finding in outcome.findings]
    assert severities == [Severity.WARNING, Severity.INFO]


def test_standard_input_goes_by_the_name_it_is_given(project):
    (project / "convlint.toml").write_text('[per-file-ignores]\n"quiet.py" = ["ALL"]\n')
    data = b"import torch\nerror()\n"
    assert found(check_paths(["-"], stdin=data)) == [("<stdin>", 2, "broken-loop")]
    assert found(check_paths(["-"], stdin=data, stdin_name="a.py"))[0][0] == "a.py"
    assert found(check_paths(["-"], stdin=data, stdin_name="quiet.py")) == []


def test_one_source_text_gives_every_finding_of_any_severity(stub_rules):
    source = "import torch\ninfo()\nerror()\ndoubtful()\n"
    assert [f.slug for f in check_source(source)] == ["notable-loss", "broken-loop"]
    assert [f.slug for f in check_source(source, "a.py", select=["LPX"])] == ["broken-loop"]
    assert [f.slug for f in check_source(source, rules=stub_rules[:1])] == ["broken-loop"]
    assert len(check_source(source, min_confidence=Confidence.LOW)) == 3


def test_failure_of_a_rule_reaches_a_caller_of_check_source():
    with pytest.raises(KeyError, match="lr"):
        check_source("import torch\ncrash()\n")


def test_python_api_checks_files_and_text(project):
    write(project / "a.py", "error()", "info()")
    assert [f.slug for f in convlint.check("a.py")] == ["broken-loop"]
    assert [f.slug for f in convlint.check("a.py", ignore=["LPX"])] == []
    assert [f.slug for f in convlint.check(source="import torch\nwarning()\n")] == ["odd-loop"]
    with pytest.raises(UserError, match=r"no\.py: no such file"):
        convlint.check("no.py")
    with pytest.raises(ValueError, match="at most one path"):
        convlint.check("a.py", "b.py", source="")
    with pytest.raises(ValueError, match="give paths"):
        convlint.check()


def test_measured_findings_are_filtered_like_the_others_and_refuted_ones_do_not_fail(project):
    write(project / "a.py", "x = 1  # convlint: ignore[broken-loop]", "y = 2")

    def measured(slug: str, line: int, verdict: Verdict | None = None) -> Finding:
        return Finding(
            code="LPX001",
            slug=slug,
            severity=Severity.ERROR,
            confidence=Confidence.HIGH,
            message="",
            location=Location(str(project / "a.py"), line, 1, line, 1),
            judgement=None if verdict is None else Judgement(verdict, "the loss fell"),
        )

    outcome = Outcome()
    given = [
        measured("broken-loop", 2),
        measured("broken-loop", 3),
        measured("odd-loop", 3, Verdict.REFUTED),
        measured("optional-loss", 3),
    ]
    keep_wanted(given, SettingsFinder(), outcome)
    assert found(outcome) == [("a.py", 3, "broken-loop"), ("a.py", 3, "odd-loop")]
    assert outcome.failing == 1


@pytest.fixture
def trainer_and_scripts(project, monkeypatch):
    """A trainer with a fault, and two scripts that run it; checked with the real catalogue."""
    monkeypatch.undo()
    monkeypatch.chdir(project)

    def make(comment: str = "") -> None:
        write(
            project / "trainer.py",
            "def fit(model, data):",
            "    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)",
            "    for x, y in data:",
            f"        torch.nn.functional.mse_loss(model(x), y).backward(){comment}",
            "        optimizer.step()",
        )
        for name in ("main", "other"):
            write(project / f"{name}.py", "import trainer", "trainer.fit(torch.nn.Linear(2, 1), d)")

    return make


def test_fault_seen_from_several_files_is_said_once(trainer_and_scripts):
    trainer_and_scripts()
    assert found(check_paths(["."])) == [("trainer.py", 5, "zero-grad-missing")]
    assert found(check_paths(["main.py", "other.py"])) == [("trainer.py", 5, "zero-grad-missing")]


def test_comments_and_settings_of_the_file_a_fault_is_in_hold(trainer_and_scripts, project):
    trainer_and_scripts("  # convlint: ignore[zero-grad-missing]")
    assert found(check_paths(["main.py"])) == []
    assert found(check_paths(["."])) == []
    trainer_and_scripts()
    (project / "convlint.toml").write_text(
        '[per-file-ignores]\n"trainer.py" = ["zero-grad-missing"]\n'
    )
    assert found(check_paths(["main.py"])) == []


def test_comment_in_a_module_of_functions_is_judged_among_its_users_only(trainer_and_scripts):
    trainer_and_scripts("  # convlint: ignore[missing-clipping]")
    slugs = {slug for _, _, slug in found(check_paths(["trainer.py"]))}
    assert "unused-suppression" not in slugs
    slugs = {slug for _, _, slug in found(check_paths(["."]))}
    assert "unused-suppression" in slugs
