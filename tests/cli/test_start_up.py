"""What is loaded when: the command line must start fast and ``check`` must stay light."""

from __future__ import annotations

import subprocess
import sys

import pytest
from whole_process import SCRIPT, loaded_by

from convlint.cli.group import COMMANDS
from convlint.cli.options import CONFIDENCES, SEVERITIES
from convlint.findings import Confidence, Severity


@pytest.mark.parametrize("output_format", ["text", "json"])
def test_check_loads_no_numerical_library_and_no_rich(tmp_path, output_format):
    (tmp_path / "train.py").write_text(SCRIPT)
    loaded = loaded_by(["check", "train.py", "--output-format", output_format], tmp_path)
    assert loaded.isdisjoint({"torch", "numpy", "scipy", "cupy", "rich", "plotly"})
    assert loaded.isdisjoint({"pathspec", "tomllib", "difflib", "xml", "watchfiles"})
    assert "libcst" not in loaded
    assert "convlint.program.extract" in loaded


def test_file_without_a_library_loads_no_extractor(tmp_path):
    (tmp_path / "plain.py").write_text("import os\n\nprint(os.getcwd())\n")
    assert "convlint.program.extract" not in loaded_by(["check", "plain.py"], tmp_path)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["check", "--help"]])
def test_help_loads_neither_parser_nor_facts(tmp_path, arguments):
    assert loaded_by(arguments, tmp_path).isdisjoint(
        {"convlint.program.parsing", "msgspec", "rich", "torch"}
    )


def test_importing_convlint_loads_nothing_else(tmp_path):
    program = (
        "import sys, convlint; print(*[m for m in ('ast', 'msgspec', 'click') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.split() == []


def test_choices_spelled_out_for_help_are_the_real_ones():
    assert set(SEVERITIES) == {severity.value for severity in Severity}
    assert set(CONFIDENCES) == {confidence.value for confidence in Confidence}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_tells_what_it_does(convlint, command):
    result = convlint(command, "--help")
    assert result.exit_code == 0
    assert f"convlint {command}" in result.stdout


def test_reader_that_goes_away_is_no_error(tmp_path):
    done = subprocess.run(
        f"{sys.executable} -m convlint rules --output-format json | head -c 1",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.stderr == ""


def test_version_is_printed(convlint):
    from convlint import __version__

    assert convlint("--version").stdout == f"convlint {__version__}\n"


@pytest.mark.parametrize(
    ("redirection", "code"),
    [(">&-", 1), ("2>&- >/dev/null", 1), (">/dev/full", 2), ("- <&-", 1), ("| head -1", 0)],
)
def test_closed_or_full_streams_are_no_fault(tmp_path, redirection, code):
    script = SCRIPT.replace("    optimizer.zero_grad()\n", "")
    (tmp_path / "train.py").write_text(script)
    done = subprocess.run(
        f"{sys.executable} -m convlint check train.py {redirection}",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == code
    assert done.stderr.count("\n") == (redirection == ">/dev/full")


def test_line_end_in_a_file_name_stays_out_of_the_message(tmp_path):
    (tmp_path / "a\nb.py").write_text("import torch\nx = (\n")
    command = [sys.executable, "-m", "convlint", "check", "."]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stderr == "convlint: a?b.py:2:5: cannot parse: '(' was never closed\n"
