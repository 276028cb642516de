"""The processes of one probe: the script, its workers, whatever they started, wherever they went.

Every process inherits a variable that names the probe's private directory, by which it is found
even when it left its process group or its parent ended. Only Linux shows the environment of
processes; elsewhere nothing is found here and the process group has to do.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

MARK = "CONVLINT_PROBE"
_PROC = Path("/proc")
_PATIENCE_SECONDS = 2.0


def processes_of(directory: str) -> list[int]:
    """The living processes of the probe whose private directory this is, ourselves aside."""
    mark = f"{MARK}={directory}\0".encode()
    found = []
    for entry in _PROC.iterdir() if _PROC.is_dir() else ():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            marked = mark in (entry / "environ").read_bytes() + b"\0"
        except OSError:
            continue
        if marked:
            found.append(int(entry.name))
    return found


def end_processes(directory: str) -> None:
    """Kill every process of the probe, those included that are being started meanwhile."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while (left := processes_of(directory)) and time.monotonic() < deadline:
        for process in left:
            try:
                os.kill(process, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue
        time.sleep(0.01)


def memory_of(directory: str, limit: int) -> int:
    """Bytes the processes of the probe hold together; exact only when they may exceed ``limit``.

    Pages that forked workers share are counted once then.
    """
    processes = processes_of(directory)
    resident = sum(_resident(process) for process in processes)
    if resident <= limit:
        return resident
    return sum(_proportional(process) for process in processes)


def free_memory() -> int | None:
    """Bytes that can be used without swapping, within the limits of a container; None unknown."""
    free = _field(_PROC / "meminfo", "MemAvailable:")
    cap = _number("/sys/fs/cgroup/memory.max")
    used = _number("/sys/fs/cgroup/memory.current")
    if cap is not None and used is not None:
        free = cap - used if free is None else min(free, cap - used)
    return free


def _resident(process: int) -> int:
    try:
        pages = int((_PROC / str(process) / "statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _proportional(process: int) -> int:
    share = _field(_PROC / str(process) / "smaps_rollup", "Pss:")
    return _resident(process) if share is None else share


def _field(file: Path, name: str) -> int | None:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), None)


def _number(path: str) -> int | None:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return None
