"""The process the script runs in: trackers offline, no windows, no orphans, no byte code left."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

_OFFLINE = {
    "WANDB_MODE": "disabled",
    "WANDB_SILENT": "true",
    "COMET_MODE": "disabled",
    "NEPTUNE_MODE": "debug",
    "CLEARML_OFFLINE_MODE": "1",
    "DISABLE_MLFLOW_INTEGRATION": "TRUE",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MPLBACKEND": "Agg",
    # Module hooks and retained graphs need eager execution; the losses are the same.
    "TORCH_COMPILE_DISABLE": "1",
}
_CACHE_VARIABLES = (
    "XDG_CACHE_HOME",
    "TORCH_HOME",
    "HF_HOME",
    "MPLCONFIGDIR",
    "TORCHINDUCTOR_CACHE_DIR",
    "TRITON_CACHE_DIR",
    "NUMBA_CACHE_DIR",
)
_SET_DEATH_SIGNAL = 1


def prepare_environment(device: str, scratch: str) -> None:
    """Set the environment of this process before any library of the script is imported.

    ``scratch`` becomes the place of temporary files. ``device`` ``cpu`` hides CUDA, ``cuda:n``
    shows only device n.
    """
    os.environ.update(_OFFLINE)
    os.environ["MLFLOW_TRACKING_URI"] = Path(scratch).as_uri()
    for variable in ("TMPDIR", "TEMP", "TMP"):
        os.environ[variable] = scratch
    tempfile.tempdir = scratch
    sys.dont_write_bytecode = True
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif device.startswith("cuda:"):
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        index = int(device.partition(":")[2])
        known = [entry for entry in visible if entry]
        os.environ["CUDA_VISIBLE_DEVICES"] = known[index] if index < len(known) else str(index)


def exempt_directories(own: str) -> list[str]:
    """Directories whose writes are let through: the probe's own, devices and download caches."""
    caches = [os.environ[name] for name in _CACHE_VARIABLES if os.environ.get(name)]
    return [own, "/dev", "/proc", "/sys", str(Path.home() / ".cache"), *caches]


def die_with_parent(parent: int) -> None:
    """Ask Linux to kill this process when the parent dies; elsewhere the watchdog looks."""
    if sys.platform == "linux":
        try:
            ctypes.CDLL(None, use_errno=True).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        except (OSError, AttributeError):
            return
        if os.getppid() != parent:
            os._exit(1)


def limit_memory(limit: int) -> None:
    """Let allocations of this process and its workers fail beyond ``limit`` bytes each.

    The script then ends with an error at the line that asked for too much, before the system runs
    out of memory and chooses whom to kill. Where a GPU is in use only the parent watches: drivers
    map far more than they use.
    """
    gpu = Path("/dev/nvidiactl").exists() and os.environ.get("CUDA_VISIBLE_DEVICES") != ""
    if sys.platform == "linux" and limit and not gpu:
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        allowed = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (allowed, hard))


def machine_is_busy() -> bool:
    """Whether more threads want to run than there are cores; False where that is not known."""
    return hasattr(os, "getloadavg") and os.getloadavg()[0] > (os.cpu_count() or 1)


def seed_random_state(seed: int) -> None:
    """Seed Python's generator; a script that seeds its own overrides it."""
    random.seed(seed)


def seed_framework(seed: int, torch: Any) -> None:
    """Seed torch and NumPy once torch is imported, before the script draws from them."""
    torch.manual_seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed)
