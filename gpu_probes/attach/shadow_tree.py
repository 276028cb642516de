"""A directory that receives what the script writes, with read-through to the real files.

The user's files are never touched: a path written to lives on under the shadow root, a path
removed is only remembered as removed, and every later read sees the script's own view.
"""
# ruff: noqa: PTH100, PTH109 -- the tree speaks the language of the os functions it stands in for

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# The functions below are replaced while the script runs; the tree itself works on real paths.
_stat = os.stat
_lstat = os.lstat
_mkdir = os.mkdir
_unlink = os.unlink
_listdir = os.listdir


def _real_exists(path: str) -> bool:
    try:
        _lstat(path)
    except (OSError, ValueError):
        return False
    return True


def _real_is_directory(path: str) -> bool:
    try:
        return (_stat(path).st_mode & 0o170000) == 0o040000
    except (OSError, ValueError):
        return False


class ShadowTree:
    """Maps the script's paths to where they really live.

    ``exempt`` directories (the probe's own, device files, download caches) are left alone.
    ``held`` lists the paths held back, in order of first write; ``programs`` what the script
    started, which writes where it likes. In a ``shared`` tree other processes write too.
    """

    def __init__(self, root: str, exempt: Iterable[str], *, shared: bool = False) -> None:
        self._root = root
        self._shared = shared
        self._exempt = tuple({_prefix(path) for path in (root, *exempt)})
        self._start = os.getcwd()
        self._entries: set[str] = set()
        self._removed: set[str] = set()
        self.held: dict[str, None] = {}
        self.programs: dict[str, None] = {}

    def is_exempt(self, path: str) -> bool:
        """Whether writes to this absolute path go through untouched."""
        return f"{path}{os.sep}".startswith(self._exempt)

    def reading(self, path: str) -> str:
        """Where a read of ``path`` must look."""
        if not self._entries and not self._removed and not self._shared:
            return path
        absolute = os.path.abspath(path)
        if self._shared and not self.is_exempt(absolute) and self._written_elsewhere(absolute):
            self._entries.add(absolute)
        if absolute in self._entries or self._is_removed(absolute):
            return self.shadow_of(absolute)
        return path

    def writing(
        self, path: str, *, keep: bool, exclusive: bool = False, create: bool = True
    ) -> str:
        """Where a write to ``path`` must go; ``keep`` carries the present content over.

        Raises FileNotFoundError where the directory is missing, or the file and not ``create``,
        FileExistsError where ``exclusive`` and the path exists, as the real call would.
        """
        absolute = os.path.abspath(path)
        if self.is_exempt(absolute):
            return path
        if exclusive and self.exists(absolute):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        if not create and not self.exists(absolute):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if _real_is_directory(self.reading(absolute)):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        shadow = self._claim(absolute, path)
        fresh = absolute not in self._entries and not self._is_removed(absolute)
        if keep and fresh and _real_exists(absolute):
            shutil.copyfile(absolute, shadow)
        self._entries.add(absolute)
        return shadow

    def make_directory(self, path: str) -> None:
        """Create ``path`` in the shadow, as ``os.mkdir`` would."""
        absolute = os.path.abspath(path)
        if self.exists(absolute):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        shadow = self._claim(absolute, path)
        if not _real_exists(shadow):
            _mkdir(shadow)
        self._entries.add(absolute)

    def remove(self, path: str) -> None:
        """Forget ``path`` and everything below it; the real files stay."""
        absolute = os.path.abspath(path)
        if not self.exists(absolute):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        shadow = self.shadow_of(absolute)
        if _real_is_directory(shadow):
            shutil.rmtree(shadow, ignore_errors=True)
        elif _real_exists(shadow):
            _unlink(shadow)
        below = _prefix(absolute)
        self._entries = {e for e in self._entries if e != absolute and not e.startswith(below)}
        if _real_exists(absolute):
            self._removed.add(absolute)
            self._hold(absolute)

    def move(self, source: str, target: str) -> None:
        """Rename within the script's view."""
        origin, destination = os.path.abspath(source), os.path.abspath(target)
        if not self.exists(origin):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), source)
        content = self.reading(origin)
        if _real_is_directory(content):
            if not self.exists(destination):
                self.make_directory(destination)
            for name in self.names(origin):
                self.move(str(Path(origin) / name), str(Path(destination) / name))
        else:
            shutil.copyfile(content, self.writing(destination, keep=False))
        if self.is_exempt(origin):
            shutil.rmtree(origin) if _real_is_directory(origin) else _unlink(origin)
        else:
            self.remove(origin)

    def exists(self, absolute: str) -> bool:
        """Whether the script may see ``absolute``."""
        return (
            absolute in self._entries
            or (not self._is_removed(absolute) and _real_exists(absolute))
            or (self._shared and self._written_elsewhere(absolute))
        )

    def _written_elsewhere(self, absolute: str) -> bool:
        """Whether another process has written what neither we nor the disk know of."""
        known = absolute in self._entries or self._is_removed(absolute)
        shadow = self.shadow_of(absolute)
        if known or not _real_exists(shadow):
            return False
        return not (_real_is_directory(shadow) and _real_is_directory(absolute))

    def names(self, path: str) -> list[str]:
        """The names in a directory: the real ones and the script's own."""
        absolute = os.path.abspath(path)
        names: set[str] = set()
        if not self._is_removed(absolute) and _real_is_directory(absolute):
            names.update(_listdir(absolute))
            names = {n for n in names if not self._is_removed(str(Path(absolute) / n))}
        if absolute in self._entries or _real_is_directory(self.shadow_of(absolute)):
            below = _prefix(absolute)
            names.update(
                entry[len(below) :]
                for entry in self._entries
                if entry.startswith(below) and os.sep not in entry[len(below) :]
            )
        elif not names and not _real_is_directory(absolute):
            _listdir(absolute)
        return sorted(names)

    def directories(self, path: str) -> list[str]:
        """The real directories whose entries make up ``path`` as the script sees it."""
        absolute = os.path.abspath(path)
        layers = [absolute] if not self._is_removed(absolute) else []
        layers.append(self.shadow_of(absolute))
        return [layer for layer in dict.fromkeys(layers) if _real_is_directory(layer)]

    def touches(self, path: str) -> bool:
        """Whether the script has changed anything at or below ``path``."""
        absolute = os.path.abspath(path)
        below = _prefix(absolute)
        return any(e == absolute or e.startswith(below) for e in self._entries | self._removed)

    def _claim(self, absolute: str, path: str) -> str:
        parent = str(Path(absolute).parent)
        if not self.exists(parent):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        shadow = self.shadow_of(absolute)
        _make_directories(str(Path(shadow).parent))
        self._hold(absolute)
        return shadow

    def _hold(self, absolute: str) -> None:
        inside = absolute.startswith(_prefix(self._start))
        self.held.setdefault(os.path.relpath(absolute, self._start) if inside else absolute)

    def _is_removed(self, absolute: str) -> bool:
        if not self._removed or absolute in self._entries:
            return False
        return any(absolute == gone or absolute.startswith(_prefix(gone)) for gone in self._removed)

    def shadow_of(self, absolute: str) -> str:
        """Where ``absolute`` lives in the shadow, whether or not it does."""
        drive, tail = os.path.splitdrive(absolute)
        return str(Path(self._root) / drive.replace(":", "") / tail.lstrip("\\/"))


def _prefix(path: str) -> str:
    absolute = os.path.abspath(path)
    return absolute if absolute.endswith(os.sep) else f"{absolute}{os.sep}"


def _make_directories(path: str) -> None:
    if _real_is_directory(path):
        return
    _make_directories(str(Path(path).parent))
    try:
        _mkdir(path)
    except FileExistsError:  # another rank was there first
        if not _real_is_directory(path):
            raise
