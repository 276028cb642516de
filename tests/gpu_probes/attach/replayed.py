"""Runs a script under the probe and compares what was recorded with what the script itself did.

:func:`compared` starts ``python replayed.py SETTINGS``, a child like that of a probe, which prints
the comparison as JSON on the last line of its standard output.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convlint.gpu_probes.attach import run_script
from convlint.gpu_probes.attach.settings import (
    SCRATCH_DIRECTORY,
    SHADOW_DIRECTORY,
    ProbeSettings,
)

if TYPE_CHECKING:
    from types import ModuleType


def compared(script: Path, directory: Path, *, steps: int) -> tuple[list[str], dict[str, Any]]:
    """What ``script`` printed under a probe without a hold, and how its tapes compare.

    ``directory`` is empty and becomes the probe's own.
    """
    for name in (SCRATCH_DIRECTORY, SHADOW_DIRECTORY):
        (directory / name).mkdir()
    settings = ProbeSettings(
        script=str(script),
        arguments=(),
        directory=str(directory),
        steps=steps,
        hold=0,
        budget=300.0,
        device="cpu",
        tier="deep",
    )
    stored = directory / "settings.json"
    stored.write_text(settings.encode())
    run = subprocess.run(
        [sys.executable, __file__, str(stored)],
        capture_output=True,
        text=True,
        check=True,
    )
    *printed, comparison = run.stdout.splitlines()
    return printed, json.loads(comparison)


class ComparingProbe(run_script.Probe):
    """A probe that reports its comparison instead of its observations."""

    comparison: Any

    def attach(self, torch: ModuleType) -> None:
        from replay_comparison import Comparison

        super().attach(torch)
        self.comparison = Comparison(self.observer)

    def conclude(self, stopped: str, error: str = "", place: Any = None) -> Any:
        print("\n" + json.dumps({"stopped": stopped, "error": error, **self.comparison.result()}))
        self.exit()


if __name__ == "__main__":
    # The probed script's directory takes the first place of the import path.
    sys.path.append(sys.path[0])
    run_script.Probe = ComparingProbe
    run_script.run(sys.argv[1])
