"""Starts a launcher of processes (torchrun, accelerate) inside one layer that all ranks share."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from convlint.gpu_probes.attach.environment import exempt_directories
from convlint.gpu_probes.attach.overlay import (
    Overlay,
    OverlayUnavailable,
    cover_working_directory,
)
from convlint.gpu_probes.attach.settings import SCRATCH_DIRECTORY, Channel, ProbeSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

_LAYER = "CONVLINT_LAYER"


def launch(settings_path: str, command: Sequence[str]) -> NoReturn:
    """Become the launcher: this interpreter with the arguments ``command``.

    The layer is laid before, since processes inherit it and could not lay one that they share. A
    launcher that is stopped does not clear up, so its temporary files go where the probe's are.
    """
    settings = ProbeSettings.read(settings_path)
    if not settings.allow_writes and settings.isolate != "patches":
        try:
            layer = cover_working_directory(
                settings.directory, exempt_directories(settings.directory)
            )
            os.environ[_LAYER] = layer.upper
        except OverlayUnavailable as refused:
            if settings.isolate == "overlay":
                Channel(settings.directory).failure(f"--isolate overlay: {refused.reason}")
                sys.exit(0)
    os.environ["TMPDIR"] = str(Path(settings.directory) / SCRATCH_DIRECTORY)
    os.execv(sys.executable, [sys.executable, *command])


def layer_of_launcher() -> Overlay | None:
    """The layer the launcher was started in, if it was."""
    upper = os.environ.get(_LAYER)
    return None if upper is None else Overlay(upper)
