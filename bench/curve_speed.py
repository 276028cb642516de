"""How long ``convlint curves`` takes for a log of seven losses, start-up included.

    python bench/curve_speed.py [--columns 7] [--rows 1000] [--repeats 3]

Once with losses that fall like an exponential, once like a power law: each column is classified,
fitted and forecast. Seconds are of the processor, a run before the first not counted: it compiles what
was never imported here.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": ""}


def log(kind: str, columns: int, rows: int) -> str:
    """The log as CSV."""
    random, k = np.random.default_rng(0), np.arange(float(rows))
    losses = []
    for column in range(columns):
        falls = np.exp(-k / (200.0 + 50.0 * column)) if kind == "exponential" else (k + 3.0) ** -0.5
        losses.append(0.3 + 2.0 * falls + 0.03 * random.normal(size=rows))
    names = ["loss", "val_loss", *(f"loss{column}" for column in range(2, columns))][:columns]
    lines = (",".join(f"{value:.5f}" for value in row) for row in np.stack([k, *losses], axis=1))
    return "\n".join([",".join(["step", *names]), *lines]) + "\n"


def seconds(file: Path) -> float:
    """Processor time of one process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "convlint", "curves", str(file)],
        check=False,
        stdout=subprocess.DEVNULL,
        env=ONE_THREAD,
    )
    if done.returncode not in (0, 1):
        raise SystemExit(done.returncode)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print the times."""
    parser = argparse.ArgumentParser(description="Time of convlint curves on one log.")
    parser.add_argument("--columns", type=int, default=7)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        for kind in ("exponential", "power law"):
            file = Path(name) / "metrics.csv"
            file.write_text(log(kind, arguments.columns, arguments.rows))
            times = [seconds(file) for _ in range(1 + arguments.repeats)][1:]
            print(f"{kind:12}" + "".join(f"{time:8.2f} s" for time in times))


if __name__ == "__main__":
    main()
