"""Colour, help, completion, watching and odd terminals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

CONVLINT = [sys.executable, "-m", "convlint"]
FAULTY = "import torch\nx = (\n"


@pytest.fixture
def run(tmp_path):
    def run_in_directory(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        plain = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
        return subprocess.run(
            [*CONVLINT, *arguments],
            cwd=tmp_path,
            env={**plain, **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    return run_in_directory


def test_colour_is_forced_and_forbidden_by_the_option_wherever_it_stands(run):
    assert "\x1b[" not in run("categories").stdout
    assert "\x1b[" in run("categories", "--color", "always").stdout
    assert "\x1b[" in run("--color", "always", "categories").stdout
    assert "\x1b[" not in run("categories", "--color", "never", FORCE_COLOR="1").stdout
    assert "\x1b[" in run("categories", "--color", "always", NO_COLOR="1").stdout
    assert "\x1b[" in run("categories", CONVLINT_COLOR="always").stdout


def test_help_of_a_command_is_the_same_by_both_ways(convlint):
    assert convlint("help", "check").stdout == convlint("check", "--help").stdout
    assert convlint("help").stdout == convlint("--help").stdout
    wrong = convlint("help", "chek")
    assert (wrong.exit_code, wrong.stderr) == (
        2,
        "convlint: no such command: chek; did you mean 'check'?\n",
    )


def test_every_option_of_check_stands_in_a_section_and_is_explained(convlint):
    from convlint.cli.check import command
    from convlint.cli.sections import ORDER

    shown = convlint("check", "--help").stdout
    for option in command.params:
        if option.param_type_name == "option":
            assert option.section in ORDER
            assert option.help
            assert option.opts[-1] in shown


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_names_the_variable_that_completes(convlint, shell):
    script = convlint("completion", shell)
    assert script.exit_code == 0
    assert f"_CONVLINT_COMPLETE={shell}_complete" in script.stdout


def test_commands_and_rules_are_completed(tmp_path):
    def completed(words: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", "from convlint.cli import main; main(prog_name='convlint')"],
            cwd=tmp_path,
            env={
                **os.environ,
                "_CONVLINT_COMPLETE": "bash_complete",
                "COMP_WORDS": words,
                "COMP_CWORD": str(len(words.split(" ")) - 1),
            },
            capture_output=True,
            text=True,
            check=False,
        ).stdout

    assert completed("convlint ch").split() == ["plain,check"]
    assert completed("convlint rule zero-grad-m").split() == ["plain,zero-grad-missing"]
    assert "plain,sarif" in completed("convlint check --output-format s").split()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_terminal_without_the_characters_gets_escapes(run, tmp_path, encoding):
    (tmp_path / "漢.py").write_text("import torch\nname = '漢'\nx = (\n")
    done = run("check", ".", PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert ":3:5: cannot parse" in done.stderr


def test_verbose_says_what_was_read(run, tmp_path):
    (tmp_path / "convlint.toml").write_text("")
    (tmp_path / "a.py").write_text("import torch\n")
    (tmp_path / "b.py").write_text("import os\n")
    done = run("check", "-v")
    assert done.returncode == 0
    assert f"convlint: settings from {tmp_path / 'convlint.toml'}\n" in done.stderr
    assert "convlint: checked a.py\nconvlint: checked b.py\n" in done.stderr
    assert "convlint: 2 files in " in done.stderr


def test_unreadable_file_is_one_line_and_the_rest_is_checked(run, tmp_path):
    (tmp_path / "a.py").write_text("import torch\n")
    (tmp_path / "loop").symlink_to("loop")
    done = run("check", "loop", "a.py")
    assert done.returncode == 2
    assert done.stderr == "convlint: loop: a symbolic link that leads nowhere\n"
    assert "Nothing found in 1 file." in done.stdout


def test_watching_checks_again_after_a_change_and_ends_quietly(tmp_path):
    file = tmp_path / "train.py"
    file.write_text("import torch\n")
    process = subprocess.Popen(
        [*CONVLINT, "check", "--watch", "--output-format", "concise"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        assert "watching for changes" in process.stderr.readline()
        file.write_text(FAULTY)
        assert "train.py:2:5: cannot parse" in process.stderr.readline()
        assert "watching for changes" in process.stderr.readline()
        (tmp_path / "convlint.toml").write_text("slect = []\n")
        assert "unknown key 'slect'" in process.stderr.readline()
        assert "watching for changes" in process.stderr.readline()
        (tmp_path / "convlint.toml").unlink()
        file.write_text("import torch  # right again\n")
        assert "watching for changes" in process.stderr.readline()
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=20)
    finally:
        process.kill()
    assert (process.returncode, stderr) == (0, "")
    assert stdout.count("Nothing found in 1 file.") == 2
