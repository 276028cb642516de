"""``convlint check --fix`` and its relatives, as a user of Ruff expects them."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.usefixtures("fixing_rules")


def content(tmp_path, name="a.py") -> bytes:
    return (tmp_path / name).read_bytes()


def test_without_fix_the_report_says_what_could_be_fixed(convlint, write, tmp_path):
    write("a.py", "safe()", "risky()", "error()")
    result = convlint("check", "--output-format", "concise")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0] == "a.py:2:1: warning repairable-loop (LPX011) [*] found safe"
    assert lines[1] == "a.py:3:1: warning risky-loop (LPX012) found risky"
    assert lines[-1] == (
        "[*] 1 fixable with --fix (1 hidden fix can be enabled with --unsafe-fixes)."
    )
    assert b"safe()" in content(tmp_path)


def test_full_report_tells_what_the_fix_does(convlint, write):
    write("a.py", "risky()")
    result = convlint("check")
    assert "= unsafe fix: put something else here (--fix --unsafe-fixes)" in result.stdout
    assert result.stdout.endswith(
        "No fixes available (1 hidden fix can be enabled with --unsafe-fixes).\n"
    )


def test_fix_writes_the_file_and_reports_the_rest(convlint, write, tmp_path):
    write("a.py", "safe()", "chain()", "error()")
    result = convlint("check", "--fix")
    assert content(tmp_path) == b"import torch\ngood = 1\ngood = 1\nerror()\n"
    assert result.exit_code == 1
    assert "broken-loop" in result.stdout
    assert result.stdout.endswith("Found 4 problems (3 fixed, 1 remaining) in 1 file.\n")


def test_a_second_run_has_nothing_to_do(convlint, write, tmp_path):
    write("a.py", "safe()", "risky()")
    assert convlint("check", "--fix", "--unsafe-fixes").exit_code == 0
    before = (tmp_path / "a.py").stat()
    result = convlint("check", "--fix", "--unsafe-fixes")
    assert result.stdout == "Nothing found in 1 file.\n"
    assert (tmp_path / "a.py").stat().st_ino == before.st_ino


def test_unsafe_fixes_wait_to_be_allowed(convlint, write, tmp_path):
    write("a.py", "risky()")
    kept = convlint("check", "--fix")
    assert kept.exit_code == 1
    assert kept.stdout.endswith(
        "No fixes available (1 hidden fix can be enabled with --unsafe-fixes).\n"
    )
    assert convlint("check", "--fix", "--unsafe-fixes").exit_code == 0
    assert content(tmp_path) == b"import torch\ngood = 2\n"


def test_exit_non_zero_on_fix(convlint, write):
    write("a.py", "safe()")
    assert convlint("check", "--fix", "--exit-non-zero-on-fix").exit_code == 1
    assert convlint("check", "--fix", "--exit-non-zero-on-fix").exit_code == 0


def test_fix_only_is_silent_about_the_rest(convlint, write, tmp_path):
    write("a.py", "safe()", "error()")
    result = convlint("check", "--fix-only")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "Fixed 1 problem.\n")
    assert b"good = 1" in content(tmp_path)


def test_diff_shows_and_writes_nothing(convlint, write, tmp_path):
    write("a.py", "safe()", "risky()")
    result = convlint("check", "--diff")
    assert result.exit_code == 1
    assert result.stdout == (
        "--- a.py\n+++ a.py\n@@ -1,3 +1,3 @@\n import torch\n-safe()\n+good = 1\n risky()\n"
    )
    assert result.stderr == (
        "Would fix 1 problem (1 hidden fix can be enabled with --unsafe-fixes).\n"
    )
    assert b"safe()" in content(tmp_path)


def test_diff_of_nothing_is_empty_and_clean(convlint, write):
    write("a.py", "error()")
    result = convlint("check", "--diff")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "No changes.\n")


def test_a_missing_last_line_end_is_shown_in_the_diff(convlint, tmp_path):
    (tmp_path / "a.py").write_bytes(b"import torch\nsafe()")
    result = convlint("check", "--diff")
    assert result.stdout.endswith(
        "-safe()\n\\ No newline at end of file\n+good = 1\n\\ No newline at end of file\n"
    )


def test_standard_input_comes_out_fixed_and_the_report_on_standard_error(convlint):
    source = b"import torch\r\nsafe()\r\nerror()\r\n"
    result = convlint("check", "-", "--fix", "--stdin-filename", "m.py", input=source)
    assert result.stdout_bytes == b"import torch\r\ngood = 1\r\nerror()\r\n"
    assert result.exit_code == 1
    assert "m.py:3:1: error broken-loop" in result.stderr
    assert "Found 2 problems (1 fixed, 1 remaining)" in result.stderr


def test_standard_input_without_faults_comes_out_as_it_was(convlint):
    source = b"# coding: latin-1\nx = '\xe9'\n"
    result = convlint("check", "-", "--fix-only", input=source)
    assert (result.exit_code, result.stdout_bytes) == (0, source)


def test_standard_input_that_does_not_parse_comes_out_as_it_was(convlint):
    source = b"import torch\nunparsable\n"
    result = convlint("check", "-", "--fix", input=source)
    assert (result.exit_code, result.stdout_bytes) == (2, source)


def test_encoding_line_ends_and_comments_stay(convlint, tmp_path):
    before = b"# -*- coding: latin-1 -*-\r\nimport torch  # \xe9\r\n\tsafe()  # why\rx = 1\n"
    (tmp_path / "a.py").write_bytes(before.replace(b"\t", b""))
    convlint("check", "--fix")
    assert content(tmp_path) == before.replace(b"\t", b"").replace(b"safe()", b"good = 1")


def test_a_fix_that_breaks_the_syntax_is_said_and_not_made(convlint, write, tmp_path):
    write("a.py", "breaking()", "safe()")
    result = convlint("check", "--fix")
    assert content(tmp_path) == b"import torch\nbreaking()\ngood = 1\n"
    assert result.stderr == (
        "convlint: a.py:2:1: the fix of repairable-loop was not made: it would leave no valid"
        " Python (a fault of convlint, please report it)\n"
    )


def test_interactive_asks_for_each(convlint, write, tmp_path):
    write("a.py", "safe()", "x = 1", "risky()", "y = 1", "risky()")
    result = convlint("check", "--interactive", input=b"n\ny\nq\n")
    assert content(tmp_path) == b"import torch\nsafe()\nx = 1\ngood = 2\ny = 1\nrisky()\n"
    assert result.stderr.count("Make this change?") == 3
    assert "+good = 1" in result.stderr
    assert result.stdout.endswith("Found 3 problems (1 fixed, 2 remaining) in 1 file.\n")


def test_interactive_all_answers_for_the_rest(convlint, write, tmp_path):
    write("a.py", "safe()", "x = 1", "risky()")
    result = convlint("check", "--interactive", input=b"a\n")
    assert content(tmp_path) == b"import torch\ngood = 1\nx = 1\ngood = 2\n"
    assert (result.exit_code, result.stderr.count("Make this change?")) == (0, 1)


def test_interactive_without_an_answer_changes_nothing(convlint, write, tmp_path):
    write("a.py", "safe()")
    assert convlint("check", "--interactive", input=b"").exit_code == 1
    assert b"safe()" in content(tmp_path)


def test_json_after_a_fix_holds_what_is_left(convlint, write):
    write("a.py", "safe()", "risky()")
    output = json.loads(convlint("check", "--fix", "--output-format", "json").stdout)
    (left,) = output["findings"]
    assert left["fix"]["applicability"] == "unsafe"


def test_a_file_edited_meanwhile_is_left_and_said(convlint, write, tmp_path, monkeypatch):
    write("a.py", "safe()")
    from convlint import documents

    original = documents.write_back

    def edited_first(path, before, after):
        (tmp_path / "a.py").write_bytes(b"edited")
        original(path, before, after)

    monkeypatch.setattr(documents, "write_back", edited_first)
    result = convlint("check", "--fix")
    assert result.exit_code == 2
    assert content(tmp_path) == b"edited"
    assert result.stderr == (
        "convlint: a.py: not changed: the file was changed while it was checked\n"
    )


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--diff", "--interactive"), "--diff and --interactive exclude one another"),
        (("--fix", "--show-facts"), "--show-facts runs no rule"),
        (("--interactive", "-"), "--interactive asks on standard input"),
    ],
)
def test_options_that_exclude_one_another_are_one_line(convlint, arguments, line):
    result = convlint("check", *arguments, input=b"")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"convlint: {line}")
