"""What goes wrong around ``probe`` and ``audit``: one line, where it is, and the exit code."""

from __future__ import annotations

import dataclasses
import json

import pytest
from made_up_runs import HEALTHY, NEVER, output_of

from convlint.gpu_probes.observations import (
    Place,
)
from convlint.launch import ProbeError

pytestmark = pytest.mark.usefixtures("stub_rules")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"stopped": "crashed", "error": "ValueError: no data", "error_place": Place("b.py", 7)},
            "b.py:7: the script raised before its first step: ValueError: no data",
        ),
        ({"stopped": "exited", "error": "exit 3"}, "a.py: no training step was seen: exit 3"),
        ({"stopped": "budget"}, "a.py: no training step within the budget; give more with --bud"),
        ({"stopped": "no-training"}, "a.py: the script ended without training: no backward pass"),
    ],
)
@pytest.mark.parametrize("command", ["probe", "audit"])
def test_script_that_never_steps_is_one_line_and_two(convlint, write, run, command, changes, line):
    write("a.py")
    run.seen = dataclasses.replace(NEVER, **changes)
    result = convlint(command, "a.py", "-q")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"convlint: {line}")
    assert result.stderr.count("\n") == 1
    result = convlint(command, "a.py", "--output-format", "json")
    assert result.exit_code == 2
    assert output_of(result)["observations"]["stopped"] == changes["stopped"]


def test_missing_module_names_the_interpreter_that_lacks_it(convlint, write, run):
    write("a.py")
    error = "ModuleNotFoundError: No module named 'tqdm'"
    run.seen = dataclasses.replace(NEVER, stopped="crashed", error=error)
    result = convlint("audit", "a.py", "--python", "/opt/env/bin/python", "-q")
    assert result.exit_code == 2
    assert result.stderr == (
        f"convlint: a.py: the script raised before its first step: {error}; /opt/env/bin/python ran"
        " it: install the module there, or name the interpreter that has it with --python\n"
    )


def test_script_that_spawns_its_trainers_is_told_that_they_are_not_followed(convlint, write, run):
    write("a.py", "torch.multiprocessing.spawn(train, nprocs=2)")
    run.seen = dataclasses.replace(NEVER, stopped="no-training")
    result = convlint("probe", "a.py", "-q")
    assert result.exit_code == 2
    assert "no backward pass was seen; it starts processes of its own" in result.stderr
    assert result.stderr.count("\n") == 1


def test_crash_after_some_steps_is_told_and_exits_with_one(convlint, write, run):
    write("a.py")
    run.seen = dataclasses.replace(HEALTHY, stopped="crashed", steps=30, error="Boom: late")
    result = convlint("probe", "a.py", "-q")
    assert result.exit_code == 1
    assert result.stderr == "convlint: a.py: the script raised after 30 steps: Boom: late\n"


@pytest.mark.parametrize("command", ["probe", "audit"])
def test_run_without_an_answer_is_one_line_two_and_valid_json(convlint, write, run, command):
    write("a.py")
    run.seen = ProbeError("a.py: the script's process died of SIGKILL (out of memory?)")
    result = convlint(command, "a.py", "-q", "--output-format", "json")
    assert result.exit_code == 2
    assert result.stderr == f"convlint: {run.seen}\n"
    assert output_of(result)["observations"] is None


@pytest.mark.parametrize("command", ["probe", "audit"])
def test_missing_script_is_one_line_and_nothing_runs(convlint, run, command):
    result = convlint(command, "no.py", "--output-format", "json")
    assert result.exit_code == 2
    assert result.stderr.startswith("convlint: no.py: no such file")
    assert result.stderr.count("\n") == 1
    assert output_of(result)["findings"] == []
    assert run.called is None


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--epochs", "3"), "the script's own arguments go after --"),
        (("--device", "tpu"), "'tpu' is none of auto, cpu, cuda and cuda:N"),
        (("--budget", "0"), "invalid value for '--budget'"),
        (("--steps", "0"), "invalid value for '--steps'"),
    ],
)
def test_mistake_in_the_options_runs_nothing(convlint, write, run, arguments, line):
    write("a.py")
    result = convlint("probe", "a.py", *arguments)
    assert result.exit_code == 2
    assert line in result.stderr
    assert run.called is None


def test_audit_does_not_run_a_script_that_does_not_parse(convlint, write, run):
    write("a.py", "unparsable")
    result = convlint("audit", "a.py")
    assert result.exit_code == 2
    assert result.stderr == "convlint: a.py:2:1: cannot parse: unmatched ')'\n"
    assert run.called is None


def test_interrupted_run_is_one_line_and_130(convlint, write, run):
    write("a.py")
    run.seen = KeyboardInterrupt()
    result = convlint("probe", "a.py", "-q")
    assert result.exit_code == 130
    assert result.stderr == "convlint: interrupted\n"


@pytest.mark.parametrize("command", ["probe", "audit"])
def test_directory_and_dangling_link_are_no_scripts(convlint, tmp_path, command):
    (tmp_path / "link.py").symlink_to("gone.py")
    for script, why in (
        (".", "a directory; give the script that trains"),
        ("link.py", "a symbolic link that leads nowhere"),
    ):
        result = convlint(command, script, "--output-format", "json")
        assert result.exit_code == 2
        (problem,) = json.loads(result.stdout)["problems"]
        assert problem["message"] == why
