"""Notes which files and directories the script reads, so that it is known when they change.

Python's audit events tell of every file opened through Python, whatever library does it; what a
library opens in its own C or C++ code (HDF5, OpenCV, Arrow) raises none. The notes lie in the
probe's own directory, one file for each process: workers and other ranks write theirs.
"""

from __future__ import annotations

import json
import os
import sys
import sysconfig
from pathlib import Path
from typing import Any

from convlint.gpu_probes.attach.settings import READS_DIRECTORY

MOST = 4096
"""Files and directories noted by one process: looking all of them up again must stay fast."""

# Held before the script's writes are redirected.
_os_open = os.open
_write = os.write
_close = os.close
_stat = os.stat
_absolute = os.path.abspath

_IMPORTERS = ("importlib", "pkgutil")
_FRAMES = 4
_LEFT_ALONE = ("/dev/", "/proc/", "/sys/")
_NOT_DATA = (".pyc", ".so", ".pyd")
_INSTALLED = ("site-packages", "dist-packages")


class FilesRead:
    """The notes of this process. ``directory`` is the probe's own."""

    def __init__(self, directory: str) -> None:
        own = {_absolute(directory), str(Path(directory).resolve())}
        standard = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
        ours = {str(Path(__file__).resolve().parent.parent)}
        self._skipped = tuple(f"{path}{os.sep}" for path in own | standard | ours) + _LEFT_ALONE
        self._directory = directory
        self._seen: set[str] = set()

    def watch(self) -> None:
        """Note from now on, for as long as the process lives; libraries' directories first."""
        for entry in sys.path:
            if Path(entry).name in _INSTALLED:
                self._note(["libraries", _absolute(entry)])
        sys.addaudithook(self._look)

    def _look(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = args
            reads = "r" in mode or "+" in mode if isinstance(mode, str) else _reads(flags)
            if reads:
                self._take("file", path)
        elif event in ("os.listdir", "os.scandir"):
            if not _looks_for_modules():
                self._take("directory", "." if args[0] is None else args[0])
        elif event == "sqlite3.connect":
            self._take("file", args[0])

    def _take(self, kind: str, path: object) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return
        try:
            absolute = _absolute(os.fsdecode(path))
        except (OSError, ValueError):
            return
        if absolute in self._seen or absolute.startswith(self._skipped):
            return
        if absolute.endswith(_NOT_DATA) or any(name in absolute for name in _INSTALLED):
            return
        if len(self._seen) == MOST:
            self._note(["more", absolute])
        if len(self._seen) >= MOST:
            return
        self._seen.add(absolute)
        try:
            status = _stat(absolute)
        except (OSError, ValueError):
            self._note([kind, absolute, None])
        else:
            self._note([kind, absolute, [status.st_size, status.st_mtime_ns]])

    def _note(self, note: list[Any]) -> None:
        # Opened anew each time: a script may close every descriptor and be given ours for a file.
        name = f"{self._directory}/{READS_DIRECTORY}/{os.getpid()}"
        try:
            file = _os_open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError:
            return
        try:
            _write(file, json.dumps(note).encode() + b"\n")
        finally:
            _close(file)


def _reads(flags: object) -> bool:
    return isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR) != os.O_WRONLY


def _looks_for_modules() -> bool:
    """Whether a directory is listed to find modules or distributions, as all of the path is."""
    frame = sys._getframe(2)
    for _ in range(_FRAMES):
        if any(name in frame.f_code.co_filename for name in _IMPORTERS):
            return True
        if frame.f_back is None:
            break
        frame = frame.f_back
    return False
