"""How long ``convlint audit`` of an unchanged script takes once it has been measured.

    python bench/audit_cache.py [SCRIPT...] [--runs 7]

Copies each script (``fixtures/healthy/digits_mlp.py`` and ``char_transformer.py`` unless given)
into a directory of its own, audits it once at tier quick, and then again and again: plainly, as
JSON, and with an HTML report. The table has the least and the median wall time. The bar: a median
of at most 1 s for each.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MOST_SECONDS = 1.0
FIXTURES = Path(__file__).resolve().parent.parent / "fixtures" / "healthy"
SCRIPTS = (FIXTURES / "digits_mlp.py", FIXTURES / "char_transformer.py")
WAYS = {"text": (), "json": ("--output-format", "json"), "html": ("--report", "report.html")}


def audit(script: str, directory: Path, *options: str) -> tuple[float, str]:
    """Wall seconds and what was said on standard error."""
    # A budget that no machine uses up: a run that is cut short is not kept.
    bounds = ("--tier", "quick", "--budget", "600")
    command = [sys.executable, "-m", "convlint", "audit", script, *bounds, *options]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    done = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, check=False
    )
    taken = time.perf_counter() - start
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{script}: exit code {done.returncode}: {done.stderr}")
    return taken, done.stderr


def main() -> int:
    """Measure and print the table; 1 when the bar is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("scripts", nargs="*", type=Path, metavar="SCRIPT", default=SCRIPTS)
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    missed = False
    print(f"{'script':<24}{'way':<7}{'measured':>10}{'least':>9}{'median':>9}")
    for script in options.scripts:
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            shutil.copy(script, directory)
            measured, _ = audit(script.name, directory)
            for way, extra in WAYS.items():
                times = []
                for _ in range(options.runs):
                    taken, said = audit(script.name, directory, *extra)
                    if "not run again" not in said:
                        raise RuntimeError(f"{script.name} was run again: {said}")
                    times.append(taken)
                median = statistics.median(times)
                missed |= median > MOST_SECONDS
                row = f"{measured:>9.2f}s{min(times):>8.2f}s{median:>8.2f}s"
                print(f"{script.name:<24}{way:<7}{row}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
