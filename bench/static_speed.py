"""How much processor time ``convlint check`` takes, beside other static checkers.

    python bench/static_speed.py PATH... [--peer NAME=COMMAND]... [--runs N]

Every tool runs once per round, in alternating order, as a process of its own; the paths are
appended to its command. What counts is the processor time of the process and its children (wall
time depends on what else the machine does) and the peak memory of the largest of them. The table
has the median over the rounds. Lines are those of all ``.py`` files below the paths, whether or not
a tool looks into a file. convlint runs cold: in one process, without its cache.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

OWN = "convlint"


@dataclass(frozen=True)
class Usage:
    """What one run of a tool used: processor seconds, peak memory in MiB, the exit status."""

    seconds: float
    peak: float
    status: int


def measure(command: list[str]) -> Usage:
    """Run ``command`` to its end, output thrown away.

    Raises OSError when it cannot be started.
    """
    with tempfile.TemporaryFile() as nowhere:
        process = subprocess.Popen(command, stdout=nowhere, stderr=nowhere)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    # ru_maxrss is in KiB on Linux and in bytes on macOS
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return Usage(used.ru_utime + used.ru_stime, used.ru_maxrss / unit, process.returncode)


def count(paths: list[str]) -> tuple[int, int]:
    """The ``.py`` files at or below ``paths`` and the lines they hold."""
    files = [
        file
        for path in map(Path, paths)
        for file in (path.rglob("*.py") if path.is_dir() else [path])
        if file.is_file()
    ]
    return len(files), sum(file.read_bytes().count(b"\n") for file in files)


def _peer(text: str) -> tuple[str, list[str]]:
    name, separator, command = text.partition("=")
    if not (name and separator and command.strip()):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=COMMAND")
    return name, shlex.split(command)


def main() -> int:
    """Measure, print the table, say how many times faster convlint is; 1 when a tool fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("paths", nargs="+")
    parser.add_argument(
        "--peer", type=_peer, action="append", default=[], metavar="NAME=COMMAND", dest="peers"
    )
    parser.add_argument("--runs", type=int, default=3, help="rounds to take the median of")
    options = parser.parse_args()
    commands = {
        OWN: [sys.executable, "-m", "convlint", "check", "--no-cache", "-j", "1"],
        **dict(options.peers),
    }
    if measure([sys.executable, "-m", OWN, "--version"]).status:
        print(f"{OWN} is not installed for {sys.executable}", file=sys.stderr)
        return 1
    files, lines = count(options.paths)
    print(f"{files} files, {lines} lines, median of {options.runs} runs")
    runs: dict[str, list[Usage]] = {name: [] for name in commands}
    for number in range(options.runs):
        order = list(commands) if number % 2 == 0 else list(reversed(commands))
        for name in order:
            try:
                usage = measure([*commands[name], *options.paths])
            except OSError as error:
                print(f"{name}: {error}", file=sys.stderr)
                return 1
            if usage.status not in (0, 1):
                print(f"{name}: ended with status {usage.status}", file=sys.stderr)
                return 1
            runs[name].append(usage)
    own = statistics.median(usage.seconds for usage in runs[OWN])
    print(f"{'':18}{'cpu s':>9}{'lines/cpu s':>14}{'peak MiB':>10}{'convlint is':>16}")
    for name, usages in runs.items():
        seconds = statistics.median(usage.seconds for usage in usages)
        peak = statistics.median(usage.peak for usage in usages)
        ratio = "" if name == OWN else f"{seconds / own:.1f}x faster"
        print(f"{name:18}{seconds:9.2f}{lines / seconds:14.0f}{peak:10.0f}{ratio:>16}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
