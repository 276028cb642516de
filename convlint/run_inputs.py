"""What a probed run rests on beside the question asked of it: sources, libraries, the files it read.

A run is repeated when any of them differs. Not among them, and so not noticed: what comes over the
network, files that a library opens in its own C or C++ code, files that were only asked about
(``os.path.exists``), environment variables other than those of ``convlint.run_store``, and the
clock.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

LARGEST_LISTING = 20_000
"""Names in a directory that are compared; of larger ones only the time of their last change is."""


class RunInputs(msgspec.Struct, frozen=True, kw_only=True):
    """What one run has read.

    ``sources`` has the digest of the user's own source files by absolute path; ``files`` size and
    time of change (ns) of the other files, null for one that was not there; ``directories`` the
    digest of the names in those the script listed; ``libraries`` that of the distributions in
    each directory where libraries are installed. ``unwatched`` is a file from which on there were
    too many to remember, empty when all are here.
    """

    sources: dict[str, str]
    files: dict[str, tuple[int, int] | None]
    directories: dict[str, str]
    libraries: dict[str, str]
    unwatched: str = ""

    def unchanged(self) -> bool:
        """Whether everything is as it was when the run read it."""
        return (
            all(file_digest(path) == digest for path, digest in self.sources.items())
            and all(_status(path) == known for path, known in self.files.items())
            and all(_names(path) == known for path, known in self.directories.items())
            and all(_distributions(path) == known for path, known in self.libraries.items())
        )


def inputs_of(notes: Path, sources: Iterable[str]) -> RunInputs:
    """From the notes of ``gpu_probes.attach.files_read`` and the sources the run has loaded."""
    own = {path: file_digest(path) for path in sources}
    files: dict[str, tuple[int, int] | None] = {}
    directories: dict[str, str] = {}
    libraries: dict[str, str] = {}
    unwatched = ""
    for file in sorted(notes.iterdir()):
        for line in file.read_text(encoding="utf-8").splitlines():
            kind, path, *status = json.loads(line)
            if kind == "libraries":
                libraries[path] = _distributions(path)
            elif kind == "directory":
                directories[path] = _names(path)
            elif kind == "more":
                unwatched = unwatched or path
            elif path not in own and path not in files:
                files[path] = None if status[0] is None else (status[0][0], status[0][1])
    return RunInputs(
        sources=own,
        files=files,
        directories=directories,
        libraries=libraries,
        unwatched=unwatched,
    )


def changed_since(paths: Iterable[str], moment: float) -> bool:
    """Whether one of the files has been written to since ``moment`` (seconds), or is gone."""
    for path in paths:
        try:
            if Path(path).stat().st_mtime >= moment:
                return True
        except OSError:
            return True
    return False


def file_digest(path: str) -> str:
    """Of the content of a file; empty when it cannot be read."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return ""


def _status(path: str) -> tuple[int, int] | None:
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def _names(path: str) -> str:
    """A digest of the names in a directory, hidden ones and byte code left out."""
    names: list[str] = []
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if not entry.name.startswith(".") and entry.name != "__pycache__":
                    names.append(entry.name)
                if len(names) > LARGEST_LISTING:
                    return str(Path(path).stat().st_mtime_ns)
    except OSError:
        return ""
    return _digest(names)


def _distributions(path: str) -> str:
    """A digest of the names and versions of what is installed in a directory."""
    try:
        with os.scandir(path) as entries:
            names = [e.name for e in entries if e.name.endswith((".dist-info", ".egg-info"))]
    except OSError:
        return ""
    return _digest(names)


def _digest(names: list[str]) -> str:
    text = "\0".join(sorted(names))
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
