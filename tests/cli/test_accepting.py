"""Findings accepted by comments and by a baseline."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.usefixtures("stub_rules")

BASELINE = ("--baseline", "baseline.json")


def test_comments_with_the_reason_silence_every_finding_reported(convlint, write, tmp_path):
    write("a.py", "error()", "x = 1", "warning()  # odd")
    (tmp_path / "sub").mkdir()
    write("sub/b.py", "error()")
    write("c.py", "info()")
    result = convlint("check", "--add-ignore=on purpose")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "Silenced 3 findings by comments in 2 files.\n"
    assert (tmp_path / "a.py").read_text() == (
        "import torch\n"
        "error()  # convlint: ignore[broken-loop] on purpose\n"
        "x = 1\n"
        "warning()  # odd  # convlint: ignore[odd-loop] on purpose\n"
    )
    assert convlint("check").exit_code == 0
    assert convlint("check", "--add-ignore").stderr.startswith("Silenced 0 findings")


def test_path_behind_the_option_is_a_path(convlint, write, tmp_path):
    write("a.py", "error()")
    write("b.py", "error()")
    assert convlint("check", "--add-ignore", "a.py").exit_code == 0
    assert "ignore[broken-loop]\n" in (tmp_path / "a.py").read_text()
    assert "ignore" not in (tmp_path / "b.py").read_text()


def test_encoding_and_line_ends_stay(convlint, tmp_path):
    data = "# coding: latin-1\r\nimport torch\r\nname = 'é'\r\nerror()\r\n".encode("latin-1")
    (tmp_path / "a.py").write_bytes(data)
    assert convlint("check", "--add-ignore=é").exit_code == 0
    added = "error()  # convlint: ignore[broken-loop] é\r\n".encode("latin-1")
    assert (tmp_path / "a.py").read_bytes() == data.replace(b"error()\r\n", added)
    (tmp_path / "a.py").write_bytes(data)
    refused = convlint("check", "--add-ignore=漢")
    assert refused.exit_code == 2
    assert "not changed: iso8859-1 has no character '漢'" in refused.stderr
    assert (tmp_path / "a.py").read_bytes() == data


def test_only_what_the_baseline_does_not_hold_is_reported(convlint, write, tmp_path):
    write("a.py", "error()", "error()", "warning()")
    written = convlint("check", *BASELINE, "--update-baseline")
    assert written.exit_code == 0
    assert written.stderr == "baseline.json: 3 findings (3 new, 0 gone).\n"
    same = convlint("check", *BASELINE)
    assert same.exit_code == 0
    assert same.stdout == "Nothing found in 1 file.\n3 findings in the baseline.\n"
    write("a.py", "'moved down'", "", "error()", "error()", "warning()", "error()")
    more = convlint("check", *BASELINE)
    assert more.exit_code == 1
    assert more.stdout.count("broken-loop") == 1
    assert more.stdout.startswith("a.py:7:1: error broken-loop")


def test_entries_that_are_gone_are_reported_and_dropped_on_update(convlint, write, tmp_path):
    write("a.py", "error()", "warning()")
    write("b.py", "error()")
    convlint("check", *BASELINE, "--update-baseline")
    write("a.py", "error()")
    (tmp_path / "b.py").unlink()
    result = convlint("check", *BASELINE)
    assert result.exit_code == 0
    assert "2 of its entries are gone, --update-baseline drops them." in result.stdout
    only_a = convlint("check", "a.py", *BASELINE)
    assert "1 of its entries is gone" in only_a.stdout
    updated = convlint("check", *BASELINE, "--update-baseline")
    assert updated.stderr == "baseline.json: 1 finding (0 new, 2 gone).\n"
    held = json.loads((tmp_path / "baseline.json").read_text())
    assert [(entry["path"], entry["rule"]) for entry in held["findings"]] == [
        ("a.py", "broken-loop")
    ]


def test_updating_for_some_files_keeps_the_entries_of_others(convlint, write):
    write("a.py", "error()")
    write("b.py", "error()")
    convlint("check", *BASELINE, "--update-baseline")
    updated = convlint("check", "a.py", *BASELINE, "--update-baseline")
    assert updated.stderr == "baseline.json: 2 findings (0 new, 0 gone).\n"


def test_baseline_holds_from_another_directory(convlint, write, tmp_path, monkeypatch):
    (tmp_path / "src").mkdir()
    write("src/a.py", "error()")
    convlint("check", *BASELINE, "--update-baseline")
    monkeypatch.chdir(tmp_path / "src")
    assert convlint("check", "--baseline", "../baseline.json").exit_code == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "baseline.json: no such baseline; --update-baseline writes it"),
        ("{", "baseline.json: no baseline of convlint: Input data was truncated"),
        ('{"version": 9, "findings": []}', "a baseline of version 9; this convlint reads 1"),
        ("[]", "no baseline of convlint: Expected `object`, got `array`"),
    ],
)
def test_baseline_that_cannot_be_used_is_one_line(convlint, write, tmp_path, content, message):
    write("a.py", "error()")
    if content is not None:
        (tmp_path / "baseline.json").write_text(content)
    result = convlint("check", *BASELINE)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--update-baseline",), "--update-baseline goes with --baseline FILE"),
        (("--add-ignore", "-"), "--add-ignore changes files"),
        (("--add-ignore", *BASELINE, "--update-baseline"), "exclude one another"),
        (("--add-ignore", "--fix"), "findings are accepted, fixed or watched"),
    ],
)
def test_options_that_do_not_go_together_are_one_line(convlint, arguments, message):
    result = convlint("check", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
