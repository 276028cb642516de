"""How long a second ``convlint check`` of an unchanged tree takes, beside ``ruff check``.

    python bench/recheck.py ML_SOURCE... [--plain SOURCE]... [--files 1000] [--ml 300] [--runs 15]

Makes a tree of ``--files`` Python files in a temporary directory: ``--ml`` of them taken from the
directories ``ML_SOURCE`` (files that mention a machine-learning library), the others from
``--plain`` directories (the standard library unless given). Both commands then run in turn, the
first run of convlint (cold) apart, and the table has the least and the median wall time. The bar:
at most 0.15 s, and at most three times ``ruff check --no-cache``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from convlint.sources import mentions_ml_library

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_SECONDS = 0.15
MOST_TIMES_RUFF = 3.0
PER_DIRECTORY = 20
LARGEST = 60_000
"""Bytes; a tree of larger files would measure generated tables."""


def python_files(sources: list[Path], *, ml: bool) -> Iterator[Path]:
    """The files below ``sources`` that do, or do not, mention a machine-learning library."""
    for source in sources:
        for file in sorted(source.rglob("*.py")):
            if (
                file.is_file()
                and 200 < file.stat().st_size < LARGEST
                and mentions_ml_library(file.read_bytes()) is ml
            ):
                yield file


def make_tree(root: Path, ml: list[Path], plain: list[Path]) -> None:
    """Copy the files, mixed, into directories of ``PER_DIRECTORY``."""
    (root / "pyproject.toml").write_text('[project]\nname = "tree"\nversion = "0"\n')
    (root / ".gitignore").write_text("__pycache__/\n*.pyc\n/runs/\n.venv/\n*.ckpt\n")
    files = [*ml, *plain]
    order = sorted(range(len(files)), key=lambda number: (number * 7919) % len(files))
    for place, number in enumerate(order):
        folder = root / f"part_{place // PER_DIRECTORY:02}"
        folder.mkdir(exist_ok=True)
        shutil.copyfile(files[number], folder / f"{files[number].stem}_{number}.py")
    long_ago = time.time() - 3600
    for file in root.rglob("*"):
        os.utime(file, (long_ago, long_ago))
    # Files whose inode was touched within the last two seconds are known by their content only.
    time.sleep(2.5)


def seconds(command: list[str], directory: Path) -> float:
    """The wall time of one run; findings are no failure, anything worse is."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, check=False)
    taken = time.perf_counter() - start
    if done.returncode not in (0, 1, 2) or b"Traceback" in done.stderr:
        raise RuntimeError(f"{command} ended with {done.returncode}: {done.stderr.decode()}")
    return taken


def main() -> int:
    """Measure and print the table; 1 when the bar is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("sources", nargs="+", type=Path, metavar="ML_SOURCE")
    parser.add_argument("--plain", action="append", type=Path, default=[], metavar="SOURCE")
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--ml", type=int, default=300)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--ruff", default="ruff", metavar="COMMAND")
    parser.add_argument("--convlint", metavar="COMMAND", help="default: this interpreter's")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="make the tree here and leave it")
    options = parser.parse_args()
    plain_sources = options.plain or [Path(sysconfig.get_path("stdlib"))]
    ml = list(python_files(options.sources, ml=True))
    ml = ml[:: max(1, len(ml) // options.ml)][: options.ml]
    plain = [
        file
        for file in python_files(plain_sources, ml=False)
        if "site-packages" not in file.parts and "test" not in file.parts
    ][: options.files - len(ml)]
    ours = [options.convlint or str(Path(sys.executable).with_name("convlint")), "check"]
    theirs = [options.ruff, "check", "--no-cache", "--exit-zero", "--quiet"]
    with tempfile.TemporaryDirectory() as temporary:
        root = options.keep or Path(temporary)
        root.mkdir(exist_ok=True)
        make_tree(root, ml, plain)
        print(f"{len(ml) + len(plain)} files, {len(ml)} of them mention a library")
        first = seconds(ours, root)
        print(f"convlint, first run: {first:.2f} s")
        time.sleep(2.5)
        seconds(ours, root)
        runs: dict[str, list[float]] = {"convlint, again": [], "ruff --no-cache": [], "python": []}
        for _ in range(options.runs):
            runs["convlint, again"].append(seconds(ours, root))
            runs["ruff --no-cache"].append(seconds(theirs, root))
            runs["python"].append(seconds([sys.executable, "-c", ""], root))
    print(f"{'':18}{'least':>9}{'median':>9}")
    for name, taken in runs.items():
        print(f"{name:18}{min(taken):8.3f}s{statistics.median(taken):8.3f}s")
    again, ruff = min(runs["convlint, again"]), min(runs["ruff --no-cache"])
    print(f"convlint takes {again / ruff:.2f} times as long (least of {options.runs} runs)")
    return 0 if again <= MOST_SECONDS and again <= MOST_TIMES_RUFF * ruff else 1


if __name__ == "__main__":
    sys.exit(main())
