"""The page about the gate: its scripts parse, and its commands are ours with options we have."""

from __future__ import annotations

import re
import shlex
import subprocess
from typing import Any

import click
import pytest
from documented import ROOT, blocks

from convlint.cli.audit import command as audit
from convlint.targets import target_of

PAGE = "docs/gate.md"
SHELL = [b for language in ("sh", "bash") for b in blocks(language) if b.page == PAGE]
YAML = [block for block in blocks("yaml") if block.page == PAGE]


def in_yaml(value: Any) -> list[list[str]]:
    """The commands of ours anywhere in a document: lines of a script, or lists of words."""
    if isinstance(value, dict):
        return [found for entry in value.values() for found in in_yaml(entry)]
    if isinstance(value, list):
        if value[:2] == ["convlint", "audit"]:
            return [[str(word) for word in value]]
        return [found for entry in value for found in in_yaml(entry)]
    return in_shell(value) if isinstance(value, str) else []


def in_shell(text: str) -> list[list[str]]:
    """The commands of ours in lines of shell, in quotes too."""
    return [shlex.split(line) for line in re.findall(r"convlint audit [^\n;&\"`)]*", text)]


def commands() -> list[list[str]]:
    yaml = pytest.importorskip("yaml")
    found = [words for block in SHELL for words in in_shell(block.text)]
    for block in YAML:
        found += in_yaml(yaml.safe_load(block.text))
    return found


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_script_is_valid_bash(block):
    done = subprocess.run(
        ["bash", "-n"], input=block.text, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_every_place_of_the_gate_is_shown():
    pytest.importorskip("yaml")
    assert len(SHELL) >= 3
    assert len(YAML) >= 3
    assert len(commands()) >= 8


def test_commands_have_options_and_values_we_take(tmp_path, monkeypatch):
    (tmp_path / "train.py").write_text("")
    monkeypatch.chdir(tmp_path)
    for words in commands():
        assert words[:2] == ["convlint", "audit"]
        context = audit.make_context("audit", words[2:])
        assert target_of(context.params["words"]).script == "train.py", words


def test_options_the_page_explains_exist():
    text = (ROOT / PAGE).read_text()
    ours = {name for parameter in audit.params for name in parameter.opts}
    explained = set(re.findall(r"^\| `(--[a-z-]+)", text, re.MULTILINE))
    assert {"--fail-on", "--tier", "--budget", "--price-per-hour"} <= explained
    assert explained <= ours


def test_a_wrong_option_would_be_noticed():
    with pytest.raises(click.UsageError):
        audit.make_context("audit", ["train.py", "--tear", "quick"])


def test_exit_codes_of_the_page_are_those_of_the_command():
    text = (ROOT / PAGE).read_text()
    told = re.findall(r"^\| (\d+) \|", text, re.MULTILINE)
    assert audit.help is not None
    assert told == re.findall(r"^ +(\d+)  ", audit.help, re.MULTILINE)
