"""Kills runs of ``convlint check --fix`` and looks whether anything was left half done.

    python bench/kill_runs.py [--rounds 100]

In each round two runs fix one tree at the same time and are killed (SIGKILL) after a random while.
Every file must then be what it was or what it is once fixed, the cache must be sound (SQLite's
``integrity_check``) or absent, a run that is let alone must find what it finds without a cache, and
one that fixes must leave every file fixed and nothing beside them.
"""

from __future__ import annotations

import argparse
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FILES = 20

SCRIPT = """\
import torch
from torch import nn

model = nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for x, y in [(torch.zeros(4, 2), torch.zeros(4, 1))] * 3:
    nn.functional.mse_loss(model(x), y).backward()
    optimizer.step()
# {}
"""

CHECK = [sys.executable, "-m", "convlint", "check", "--output-format", "concise"]
FIX = [*CHECK, "--fix", "--unsafe-fixes"]


def run(command: list[str], directory: Path) -> subprocess.CompletedProcess[str]:
    """Run to the end; standard output and error are kept."""
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)


def write_tree(directory: Path) -> dict[str, str]:
    """The scripts, written anew, and their text by name."""
    texts = {f"train_{number:02}.py": SCRIPT.format(number) for number in range(FILES)}
    (directory / "pyproject.toml").write_text("")
    for name, text in texts.items():
        (directory / name).write_text(text)
    return texts


def wrong_after(directory: Path, before: dict[str, str], fixed: dict[str, str]) -> str:
    """What is not as it must be after runs were killed; empty when all is well."""
    for name in before:
        text = (directory / name).read_text()
        if text not in (before[name], fixed[name]):
            return f"{name} is neither as it was nor fixed:\n{text}"
    database = directory / ".convlint_cache" / "1" / "reports.sqlite3"
    if database.exists():
        with sqlite3.connect(database, timeout=20) as connection:
            (sound,) = connection.execute("PRAGMA integrity_check").fetchone()
        connection.close()
        if sound != "ok":
            return f"the cache is damaged: {sound}"
    recalled, judged = run(CHECK, directory), run([*CHECK, "--no-cache"], directory)
    if (recalled.stdout, recalled.returncode) != (judged.stdout, judged.returncode):
        return f"the cache gives\n{recalled.stdout}{recalled.stderr}instead of\n{judged.stdout}"
    run(FIX, directory)
    for name in before:
        if (directory / name).read_text() != fixed[name]:
            return f"{name} is not fixed by a run that is let alone"
    beside = {p.name for p in directory.iterdir()} - {*before, "pyproject.toml", ".convlint_cache"}
    return f"left behind: {', '.join(sorted(beside))}" if beside else ""


def kill_rounds(rounds: int, directory: Path, seed: int = 0) -> list[str]:
    """What went wrong in each round in which something did."""
    chance = random.Random(seed)
    before = write_tree(directory)
    started = time.perf_counter()
    done = run(FIX, directory)
    whole = time.perf_counter() - started
    fixed = {name: (directory / name).read_text() for name in before}
    if fixed == before:
        return [f"nothing was fixed: {done.stdout}{done.stderr}"]
    wrong = []
    for number in range(rounds):
        write_tree(directory)
        runs = [
            subprocess.Popen(
                FIX, cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            for _ in range(2)
        ]
        for process in runs:
            time.sleep(chance.uniform(0, whole))
            process.send_signal(signal.SIGKILL)
        for process in runs:
            process.wait()
        said = wrong_after(directory, before, fixed)
        if said:
            wrong.append(f"round {number}: {said}")
    return wrong


def main() -> int:
    """Run the rounds; 1 when anything was wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        wrong = kill_rounds(options.rounds, Path(directory))
    print("\n".join(wrong))
    print(f"{options.rounds} rounds, two runs killed in each: {len(wrong)} went wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
