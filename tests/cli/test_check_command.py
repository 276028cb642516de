from __future__ import annotations

import json

import jsonschema
import pytest

from convlint.cli.options import OUTPUT_FORMATS
from convlint.report.json import output_schema

pytestmark = pytest.mark.usefixtures("stub_rules")


def test_findings_are_printed_and_exit_with_one(convlint, write):
    write("a.py", "error()")
    result = convlint("check")
    assert result.exit_code == 1
    assert "a.py:2:1: error broken-loop (LPX001)" in result.stdout
    assert "= what to do: Remove it." in result.stdout
    assert result.stdout.endswith("Found 1 problem in 1 file: 1 error.\n")
    assert result.stderr == ""


def test_clean_files_exit_with_zero(convlint, write):
    write("a.py", "x = 1")
    result = convlint("check", "a.py")
    assert (result.exit_code, result.stdout) == (0, "Nothing found in 1 file.\n")


def test_empty_file_is_clean(convlint, tmp_path):
    (tmp_path / "a.py").write_bytes(b"")
    assert convlint("check", "a.py").exit_code == 0


def test_exit_zero_hides_findings_from_the_exit_code_but_not_failures(convlint, write):
    write("a.py", "error()")
    assert convlint("check", "--exit-zero").exit_code == 0
    write("b.py", "unparsable")
    assert convlint("check", "--exit-zero").exit_code == 2


def test_fail_on_error_lets_warnings_pass_but_shows_them(convlint, write):
    write("a.py", "warning()")
    result = convlint("check", "--fail-on", "error", "--output-format", "concise", "-q")
    assert result.exit_code == 0
    assert result.stdout == "a.py:2:1: warning odd-loop (LPX002) found warning\n"


def test_json_follows_the_schema_and_stands_alone_on_stdout(convlint, write):
    write("a.py", "error()", "info()")
    write("b.py", "unparsable")
    result = convlint("check", "--output-format", "json", "--show-info")
    assert result.exit_code == 2
    assert result.stderr == "convlint: b.py:2:1: cannot parse: unmatched ')'\n"
    output = json.loads(result.stdout)
    jsonschema.Draft202012Validator(output_schema()).validate(output)
    assert [finding["slug"] for finding in output["findings"]] == ["broken-loop", "notable-loss"]
    assert output["observations"] is None
    assert output["verdict"] is None


def test_names_may_be_joined_by_commas_or_repeated(convlint, write):
    write("a.py", "error()", "warning()", "taste()")
    arguments = ("check", "-q", "--output-format", "concise", "--statistics")
    several = convlint(*arguments, "--select", "LPX002,optional-loss")
    repeated = convlint(*arguments, "--select", "LPX002", "--select", "optional-loss")
    assert several.stdout == repeated.stdout == "1  LPX002  odd-loop\n1  LSX003  optional-loss\n"


def test_rule_that_fails_exits_with_two_and_one_line(convlint, write):
    write("a.py", "crash()", "error()")
    result = convlint("check")
    assert result.exit_code == 2
    assert "broken-loop" in result.stdout
    assert result.stderr == (
        "convlint: a.py: rule failing-rule failed with KeyError: 'lr'"
        " (a fault of convlint, please report it)\n"
    )


def test_standard_input_is_checked_under_its_given_name(convlint):
    source = b"import torch\nerror()\n"
    result = convlint("check", "-", "--stdin-filename", "model.py", input=source)
    assert result.exit_code == 1
    assert "model.py:2:1: error broken-loop" in result.stdout
    assert "2 | error()" in result.stdout


def test_facts_are_printed_as_json_without_judging(convlint, write):
    write("a.py", "error()")
    result = convlint("check", "--show-facts")
    assert result.exit_code == 0
    facts = json.loads(result.stdout)
    assert facts["path"] == "a.py"
    assert facts["calls"][0]["name"] == "error"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("check", "no.py"), "no.py: no such file or directory"),
        (("check", "--select", "brokn-loop"), "unknown rule 'brokn-loop'; did you mean 'broken-l"),
        (("check", "--selct", "x"), "no such option"),
        (("check", "--fail-on", "fatal"), "invalid value for '--fail-on'"),
        (("check", "--statistics", "--output-format", "sarif"), "--statistics goes with"),
        (("check", "-o", "gone/report.txt"), "--output-file: no such directory: gone"),
        (("check", "-q", "-v"), "--quiet and --verbose exclude one another"),
        (("check", "--stdin-filename", "a.py"), "--stdin-filename goes with the path -"),
        (("chek",), "no such command: chek; did you mean 'check'?"),
    ],
)
def test_mistake_on_the_command_line_is_one_line_and_two(convlint, arguments, line):
    result = convlint(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"convlint: {line}")
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr


def test_mistake_in_the_configuration_is_one_line_and_two(convlint, write, tmp_path):
    write("a.py", "error()")
    (tmp_path / "convlint.toml").write_text('ignor = ["LPX"]\n')
    result = convlint("check")
    assert result.exit_code == 2
    assert result.stderr == (
        f"convlint: {tmp_path / 'convlint.toml'}: unknown key 'ignor'; did you mean 'ignore'?\n"
    )


def test_fault_of_our_own_exits_with_two_not_one(convlint, write, monkeypatch):
    write("a.py", "error()")

    def broken(*_, **__):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("convlint.engine.check_paths", broken)
    result = convlint("check")
    assert result.exit_code == 2
    assert result.stderr.endswith(
        "ZeroDivisionError: oops (a fault of convlint, please report it)\n"
    )


def test_interruption_is_one_line_and_130(convlint, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("convlint.engine.check_paths", interrupted)
    result = convlint("check")
    assert result.exit_code == 130
    assert result.stderr.strip().splitlines()[-1] == "convlint: interrupted"


@pytest.mark.usefixtures("stub_rules")
def test_json_holds_what_could_not_be_done(convlint, write):
    write("a.py", "unparsable")
    write("b.py", "error()")
    result = convlint("check", "a.py", "b.py", "gone.py", "--output-format", "json")
    output = json.loads(result.stdout)
    assert result.exit_code == 2
    assert [finding["path"] for finding in output["findings"]] == ["b.py"]
    assert output["problems"] == [
        {"message": "cannot parse: unmatched ')'", "path": "a.py", "line": 2, "column": 1},
        {"message": "no such file or directory", "path": "gone.py", "line": None, "column": None},
    ]


def test_json_is_written_when_the_configuration_is_wrong(convlint, tmp_path):
    (tmp_path / "convlint.toml").write_text("slect = []\n")
    result = convlint("check", "--output-format", "json")
    (problem,) = json.loads(result.stdout)["problems"]
    assert (result.exit_code, problem["path"]) == (2, str(tmp_path / "convlint.toml"))
    assert problem["message"].startswith("unknown key 'slect'")


def test_files_are_excluded_by_options(convlint, write, tmp_path):
    for folder in ("old", "new", "build"):
        (tmp_path / folder).mkdir()
        write(f"{folder}/a.py", "error()")
    arguments = ("check", "-q", "--output-format", "concise")
    assert convlint(*arguments).stdout.count("\n") == 2
    assert "old" not in convlint(*arguments, "--extend-exclude", "old/,gone").stdout
    assert convlint(*arguments, "--exclude", "new").stdout.count("build") == 1
    named = (*arguments, "--exclude", "new", "new/a.py")
    assert convlint(*named).exit_code == 1
    assert convlint(*named, "--force-exclude").exit_code == 0


def test_rules_stay_silent_in_files_given_by_options(convlint, write):
    write("a.py", "error()", "warning()")
    arguments = ("check", "-q", "--output-format", "concise")
    silenced = convlint(*arguments, "--per-file-ignores", "a.py:odd-loop,b.py:LPX")
    assert "broken-loop" in silenced.stdout
    assert "odd-loop" not in silenced.stdout
    others = convlint(*arguments, "--extend-per-file-ignores", "!b.py:LPX")
    assert others.exit_code == 0


def test_severity_given_to_a_rule_decides_the_exit_code_and_what_is_shown(convlint, write):
    write("a.py", "warning()", "info()")
    raised = convlint("check", "--config", 'severity.notable-loss = "error"', "--fail-on", "error")
    assert raised.exit_code == 1
    assert "error notable-loss" in raised.stdout
    lowered = convlint("check", "--config", 'severity.LPX = "info"')
    assert (lowered.exit_code, "odd-loop" in lowered.stdout) == (0, False)


@pytest.mark.parametrize("output_format", OUTPUT_FORMATS)
def test_every_format_reports_findings_and_stands_alone_on_stdout(
    convlint, write, tmp_path, output_format
):
    write("a.py", "error()")
    write("b.py", "unparsable")
    result = convlint("check", "--output-format", output_format)
    assert result.exit_code == 2
    assert "LPX001" in result.stdout
    assert result.stderr == "convlint: b.py:2:1: cannot parse: unmatched ')'\n"
    into_file = convlint("check", "--output-format", output_format, "-o", "report")
    assert (into_file.exit_code, into_file.stdout) == (2, "")
    assert (tmp_path / "report").read_text() == result.stdout


@pytest.mark.parametrize("output_format", ["json", "sarif", "gitlab", "junit", "github"])
def test_programs_are_told_of_a_mistake_in_the_configuration(convlint, tmp_path, output_format):
    (tmp_path / "convlint.toml").write_text("slect = []\n")
    result = convlint("check", "--output-format", output_format)
    assert result.exit_code == 2
    assert "unknown key 'slect'" in result.stdout.replace("&apos;", "'")


def test_output_that_cannot_be_written_is_one_line(convlint, write):
    write("a.py", "error()")
    result = convlint("check", "-o", "/dev/full")
    assert result.exit_code == 2
    assert (
        result.stderr == "convlint: /dev/full: cannot write the output: No space left on device\n"
    )


def test_statistics_are_also_for_programs(convlint, write):
    write("a.py", "error()", "error()", "warning()")
    result = convlint("check", "--statistics", "--output-format", "json")
    assert [(row["slug"], row["count"]) for row in json.loads(result.stdout)] == [
        ("broken-loop", 2),
        ("odd-loop", 1),
    ]


def test_files_that_would_be_checked_are_listed(convlint, write, tmp_path):
    (tmp_path / "build").mkdir()
    write("build/a.py", "error()")
    write("b.py", "error()")
    result = convlint("check", "--show-files")
    assert (result.exit_code, result.stdout) == (0, "b.py\n")
    assert convlint("check", "--show-files", "gone.py").exit_code == 2


def test_directory_without_python_files_is_named_once(convlint, write, tmp_path):
    (tmp_path / "docs").mkdir()
    write("a.py", "x = 1")
    result = convlint("check", "docs", "a.py")
    assert result.exit_code == 0
    assert result.stderr.startswith("convlint: docs: no Python files here")
    assert convlint("check", "docs", "a.py", "-q").stderr == ""
    alone = convlint("check", "docs")
    assert (alone.stdout, alone.stderr) == ("No Python files found.\n", "")


def test_environment_sets_the_format_and_options_win(convlint, write, monkeypatch):
    write("a.py", "error()")
    monkeypatch.setenv("CONVLINT_OUTPUT_FORMAT", "concise")
    assert convlint("check", "-q").stdout.startswith("a.py:2:1: error broken-loop")
    assert convlint("check", "-q", "--output-format", "pylint").stdout.startswith("a.py:2: [LPX001")


def test_nothing_fails_when_fail_on_is_never(convlint, write, tmp_path):
    write("a.py", "error()")
    assert convlint("check", "--fail-on", "never").exit_code == 0
    (tmp_path / "convlint.toml").write_text('fail-on = "never"\n')
    assert convlint("check").exit_code == 0
    assert convlint("check", "--fail-on", "error").exit_code == 1
