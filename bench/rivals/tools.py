"""The tools that are compared: how each is installed, run and read."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

OWN = "convlint"


@dataclass(frozen=True)
class Reported:
    """One finding: the tool's code, the file, the line (0 if it gives none); ``hint`` if the tool
    itself ranks it below a warning."""

    tool: str
    code: str
    path: Path
    line: int
    hint: bool = False


@dataclass(frozen=True)
class Peer:
    """A tool from PyPI. ``requirements`` go to pip as they are; ``alone`` leaves dependencies out."""

    name: str
    requirements: tuple[str, ...]
    run: Callable[[Path, list[Path]], list[Reported]]
    alone: bool = False


class ToolFailed(Exception):
    """A tool could not be installed or run; the message says which and why."""


def _output(command: list[str], statuses: tuple[int, ...] = (0, 1)) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode not in statuses:
        raise ToolFailed(f"{command[0]}: status {ran.returncode}: {ran.stderr.strip()[-300:]}")
    return ran.stdout


def run_convlint(files: list[Path]) -> list[Reported]:
    """Findings at warning or above, as ``convlint check`` shows them without options."""
    command = [sys.executable, "-m", "convlint", "check", "--quiet", "--output-format", "json"]
    report = json.loads(_output([*command, *map(str, files)]))
    return [
        Reported(
            OWN, found["slug"], Path(found["path"]), found["line"], found["severity"] == "info"
        )
        for found in report["findings"]
    ]


def _run_preflight(environment: Path, files: list[Path]) -> list[Reported]:
    command = [str(environment / "bin" / "torch-preflight"), "check", "-f", "json", "-j", "1"]
    report = json.loads(_output([*command, *map(str, files)]))
    return [
        Reported(
            "torch-preflight",
            found["code"],
            Path(found["path"]),
            found["line"],
            found["severity"] == "note",
        )
        for found in report["diagnostics"]
    ]


def _run_mldoct(environment: Path, files: list[Path]) -> list[Reported]:
    reader = Path(__file__).with_name("mldoct_findings.py")
    output = _output([str(environment / "bin" / "python"), str(reader), *map(str, files)], (0,))
    return [
        Reported(
            "mldoct",
            found["type"],
            Path(found["path"]),
            found["line"] or 0,
            found["severity"] == "INFO",
        )
        for found in json.loads(output)
    ]


_TORCHFIX_LINE = re.compile(r"^(?P<path>.+?):(?P<line>\d+):\d+: (?P<code>TOR\d+) ", re.MULTILINE)


def _run_torchfix(environment: Path, files: list[Path]) -> list[Reported]:
    output = _output([str(environment / "bin" / "torchfix"), "-j", "1", *map(str, files)])
    # it colours the code whether or not anyone looks
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output)
    return [
        Reported("torchfix", match["code"], Path(match["path"]), int(match["line"]))
        for match in _TORCHFIX_LINE.finditer(plain)
    ]


PEERS = (
    Peer("torch-preflight", ("torch-preflight==0.5.0",), _run_preflight),
    Peer("mldoct", ("mldoct==1.0.0",), _run_mldoct, alone=True),
    Peer("torchfix", ("torchfix==0.7.0", "libcst<1.6"), _run_torchfix),
)


def install(peer: Peer, folder: Path) -> Path:
    """The virtual environment of ``peer`` under ``folder``, made when it is not there yet.

    Raises ToolFailed when pip cannot install it.
    """
    environment = folder / peer.name
    stamp = environment / "installed"
    wanted = " ".join(peer.requirements)
    if stamp.is_file() and stamp.read_text() == wanted:
        return environment
    venv.create(environment, with_pip=True, clear=True)
    pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    alone = ["--no-deps"] if peer.alone else []
    try:
        _output([*pip, *alone, *peer.requirements], (0,))
    except ToolFailed as error:
        raise ToolFailed(f"{peer.name} cannot be installed: {error}") from None
    stamp.write_text(wanted)
    return environment
