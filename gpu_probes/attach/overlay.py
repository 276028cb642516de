"""A layer over the working directory that takes every write and ends with the processes in it.

A mount namespace of the script's own holds an overlay file system over the working directory, its
upper layer in memory: writes from C++ code or other programs, which no patched function sees, land
there too and are gone with the last process. Linux only, and where mounting is allowed: for root,
or through a user namespace.
"""

from __future__ import annotations

import ctypes
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Overlay", "OverlayUnavailable", "cover_working_directory"]

OVERLAY_DIRECTORY = "o"

_NEW_MOUNTS, _NEW_USERS = 0x00020000, 0x10000000
_PRIVATE, _RECURSIVE = 1 << 18, 1 << 14
_SEPARATORS = frozenset(',:\\"\n')
"""What the options of a mount cannot hold as it is."""


class OverlayUnavailable(Exception):
    """The working directory cannot be covered; ``reason`` is one line."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Overlay:
    """The layer in force; ``written`` tells what it took, which lies in ``upper``."""

    def __init__(self, upper: str) -> None:
        self.upper = upper

    def written(self) -> Iterator[str]:
        """Files written, changed or removed below the working directory, relative to it."""
        for folder, _, names in os.walk(self.upper):
            for name in sorted(names):
                yield (Path(folder) / name).relative_to(self.upper).as_posix()


def cover_working_directory(private: str, exempt: Iterable[str]) -> Overlay:
    """Cover the working directory for this process and all that it starts from now on.

    ``private`` is a directory of ours outside of it; ``exempt`` are directories whose writes must
    last. Must be called before the process starts threads. What is tried is tried in a child
    first, so that a refusal leaves this process as it was.

    Raises:
        OverlayUnavailable: with the reason; nothing has changed then.
    """
    start = str(Path.cwd())
    _require_coverable(start, [private, *exempt])
    trial = os.fork()
    if trial == 0:
        try:
            _cover(start, private)
        except BaseException as failure:  # whatever it is, it ends with the child
            os._exit(min(255, getattr(failure, "errno", None) or 255))
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(trial, 0)[1])
    if code != 0:
        known = 0 < code < 255
        said = os.strerror(code) if known else "the system does not allow it"
        raise OverlayUnavailable(f"mounting over the working directory: {said}")
    try:
        return Overlay(_cover(start, private))
    except OSError as error:
        raise OverlayUnavailable(f"mounting over the working directory: {error}") from error


def _require_coverable(start: str, lasting: list[str]) -> None:
    if sys.platform != "linux":
        raise OverlayUnavailable("only Linux has overlay mounts")
    if start == os.sep or _SEPARATORS & set(start):
        raise OverlayUnavailable(f"the working directory {start} cannot be named in a mount")
    below = start + os.sep
    for path in lasting:
        if f"{Path(path).absolute()}{os.sep}".startswith(below):
            raise OverlayUnavailable(f"{path}, which must last, lies in the working directory")
    for point in _mount_points():
        if point.startswith(below):
            raise OverlayUnavailable(f"{point} is mounted in the working directory")


def _mount_points() -> list[str]:
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError as error:
        raise OverlayUnavailable("the mounts of this system are not known") from error
    return [line.split()[4].replace("\\040", " ") for line in lines]


def _cover(start: str, private: str) -> str:
    """Mount the layer; the path of what it takes. Raises OSError where the system refuses."""
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.geteuid(), os.getegid()
    own_users = user != 0
    _call(libc.unshare, _NEW_MOUNTS | (_NEW_USERS if own_users else 0))
    if own_users:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    _mount(libc, "none", "/", None, _RECURSIVE | _PRIVATE, None)
    layer = Path(private) / OVERLAY_DIRECTORY
    layer.mkdir(exist_ok=True)
    _mount(libc, "tmpfs", str(layer), "tmpfs", 0, "mode=700")
    upper, work = layer / "upper", layer / "work"
    # The root of the layer stands in for the directory, with its permissions.
    upper.mkdir(stat.S_IMODE(Path(start).stat().st_mode))
    work.mkdir()
    options = f"lowerdir={start},upperdir={upper},workdir={work}"
    _mount(libc, "overlay", start, "overlay", 0, options + (",userxattr" if own_users else ""))
    os.chdir(start)
    return str(upper)


def _mount(
    libc: ctypes.CDLL, source: str, target: str, kind: str | None, flags: int, options: str | None
) -> None:
    encoded = [None if text is None else os.fsencode(text) for text in (kind, options)]
    _call(
        libc.mount,
        os.fsencode(source),
        os.fsencode(target),
        encoded[0],
        ctypes.c_ulong(flags),
        encoded[1],
    )


def _call(function: ctypes._FuncPointer, *arguments: object) -> None:
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
