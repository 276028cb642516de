"""Plain command lines are answered without click, and mean what they mean with it."""

from __future__ import annotations

import pytest
from whole_process import SCRIPT, loaded_by

from convlint.cli import main, plain
from convlint.cli.check import command

PLAIN = [
    [],
    ["train.py"],
    ["src", "train.py", "--exit-zero"],
    ["--force-exclude", "a.py", "b.py"],
    ["-q", "a.py"],
    ["--quiet", "--no-cache", "--show-info"],
]


@pytest.mark.parametrize("arguments", PLAIN)
def test_plain_command_line_means_what_click_reads(arguments):
    read = command.make_context("check", list(arguments)).params
    assert plain.options_of(["check", *arguments], {}) == read


@pytest.mark.parametrize(
    "arguments",
    [
        ["--select", "LOP"],
        ["--output-format=json"],
        ["-o", "report.txt"],
        ["--help"],
        ["-"],
        ["--", "train.py"],
        [""],
        ["--fix"],
        ["--no-such-option"],
    ],
)
def test_anything_else_is_left_to_click(arguments):
    assert plain.options_of(["check", *arguments], {}) is None


def test_other_commands_are_left_to_click():
    assert plain.options_of([], {}) is None
    assert plain.options_of(["probe", "train.py"], {}) is None


@pytest.mark.parametrize("name", ["CONVLINT_FAIL_ON", "CONVLINT_COLOR", "_CONVLINT_COMPLETE"])
def test_settings_from_the_environment_are_left_to_click(name):
    assert plain.options_of(["check", "train.py"], {name: "never"}) is None
    assert plain.options_of(["check", "train.py"], {"HOME": "/root"}) is not None


def test_plain_check_of_what_is_remembered_loads_neither_click_nor_dataclasses(tmp_path):
    (tmp_path / "train.py").write_text(SCRIPT)
    loaded_by(["check"], tmp_path)
    loaded = loaded_by(["check"], tmp_path)
    assert "convlint.program.extract" not in loaded
    assert "convlint.report.text" in loaded
    assert loaded.isdisjoint({"click", "dataclasses", "multiprocessing"})


def test_both_ways_print_the_same(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(SCRIPT.replace("    optimizer.zero_grad()\n", ""))
    said = []
    for arguments in (["check", "train.py"], ["check", "--fail-on", "warning", "train.py"]):
        with pytest.raises(SystemExit) as end:
            main(arguments, prog_name="convlint")
        said.append((end.value.code, *capfd.readouterr()))
    assert said[0] == said[1]
    assert said[0][0] == 1
    assert "zero-grad-missing" in said[0][1]


def test_mistake_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "convlint.toml").write_text("selectt = []\n")
    with pytest.raises(SystemExit) as end:
        main(["check"])
    assert end.value.code == 2
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "'select'" in said.err
