"""What a report on a file rests on beside the file itself, and whether it still holds.

A file is followed into the modules of its project. What was read on the way, and which file each
import meant (or that it meant none), is remembered with the report: a module that is edited,
appears or goes away makes it out of date.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from convlint.program.imports import ImportResolver, ProjectFiles

if TYPE_CHECKING:
    from pathlib import Path

_TOO_FRESH = 2_000_000_000
"""Nanoseconds. Two changes closer together than the clock of a file system (2 s at worst) look like
one, so the times of a file that has just been changed say nothing."""

_LARGEST_STORED = 2**63 - 1
"""SQLite's integers are signed; inodes of some file systems use all 64 bits."""


class Signature(NamedTuple):
    """What the file system says of a file; equal means that nobody has written to it since."""

    size: int
    modified: int
    changed: int
    inode: int


UNKNOWN = Signature(-1, 0, 0, 0)
"""Equal to the signature of no file."""

MISSING = b""
"""The digest of a file that could not be read."""


def signature(status: os.stat_result) -> Signature:
    """Of a file with this ``status``."""
    inode = status.st_ino & _LARGEST_STORED
    return Signature(status.st_size, status.st_mtime_ns, status.st_ctime_ns, inode)


def lasting_signature(status: os.stat_result) -> Signature:
    """The same, to be compared with later; ``UNKNOWN`` for a file too fresh to be known by it."""
    newest = max(status.st_mtime_ns, status.st_ctime_ns)
    return UNKNOWN if newest > time.time_ns() - _TOO_FRESH else signature(status)


def digest(data: bytes) -> bytes:
    """Sixteen bytes that stand for ``data``."""
    from hashlib import blake2b

    return blake2b(data, digest_size=16).digest()


class Dependencies(msgspec.Struct, frozen=True, array_like=True):
    """``root`` is where the project begins, ``reads`` the modules that were looked into with their
    signatures and digests, ``imports`` for each importing file the modules it names (with leading
    dots) and the file each of them meant, empty for none. ``foreign`` has the modules from outside
    the project, most of those a file names: its names of files and directories that would change
    that, and the modules."""

    root: str = ""
    reads: tuple[tuple[str, Signature, bytes], ...] = ()
    imports: dict[str, dict[str, str]] = {}
    foreign: dict[str, tuple[frozenset[str], tuple[str, ...]]] = {}


_NONE = Dependencies()


class Surroundings:
    """The project as it is now; everything is looked at once."""

    def __init__(self) -> None:
        self.files = ProjectFiles()
        self._resolver = ImportResolver(self.files)
        self._roots: dict[str, str] = {}
        self._signatures: dict[str, Signature] = {}
        self._digests: dict[str, bytes] = {}

    def root_of(self, directory: str) -> str:
        """Where imports of the files in ``directory`` (absolute) are looked up from: the nearest
        directory with a project file, or ``directory`` itself."""
        known = self._roots.get(directory)
        if known is None:
            known = self._root_above(directory) or directory
            self._roots[directory] = known
        return known

    def _root_above(self, directory: str) -> str | None:
        while True:
            base = directory.rstrip(os.sep)
            if self.files.exists(f"{base}{os.sep}pyproject.toml") or self.files.exists(
                f"{base}{os.sep}.git"
            ):
                return directory
            above = os.path.dirname(directory)  # noqa: PTH120
            if above == directory:
                return None
            directory = above

    def hold(self, dependencies: Dependencies, directory: str) -> bool:
        """Whether a report on a file in ``directory`` would rest on the same things today."""
        if dependencies == _NONE:
            return True
        return (
            self.root_of(directory) == dependencies.root
            and all(self._unchanged(*read) for read in dependencies.reads)
            and all(
                self._means_the_same(importer, modules, dependencies.root)
                for importer, modules in dependencies.imports.items()
            )
            and all(
                self._stay_foreign(importer, names, modules, dependencies.root)
                for importer, (names, modules) in dependencies.foreign.items()
            )
        )

    def _means_the_same(self, importer: str, modules: dict[str, str], root: str) -> bool:
        resolve = self._resolver.resolve
        for dotted, meant in modules.items():
            name = dotted.lstrip(".")
            found = resolve(name, len(dotted) - len(name), importer, root)
            if (found or "") != meant:
                return False
        return True

    def _stay_foreign(
        self, importer: str, names: frozenset[str], modules: tuple[str, ...], root: str
    ) -> bool:
        around = self._resolver.names_around(importer, root)
        if around is not None and names.isdisjoint(around):
            return True
        return self._means_the_same(importer, dict.fromkeys(modules, ""), root)

    def _unchanged(self, path: str, known: Signature, known_digest: bytes) -> bool:
        now = self._signatures.get(path)
        if now is None:
            try:
                now = signature(os.stat(path))  # noqa: PTH116
            except OSError:
                return known_digest == MISSING
            self._signatures[path] = now
        if now == known:
            return True
        if path not in self._digests:
            try:
                with open(path, "rb") as file:  # noqa: PTH123
                    self._digests[path] = digest(file.read())
            except OSError:
                return known_digest == MISSING
        return self._digests[path] == known_digest


class Record:
    """Gathers the dependencies of one report while its file is followed."""

    def __init__(self) -> None:
        self._reads: dict[str, tuple[str, Signature, bytes]] = {}
        self._imports: dict[str, dict[str, str]] = {}

    def read(self, path: str) -> None:
        """The module at ``path`` was looked into."""
        if path in self._reads:
            return
        try:
            with open(path, "rb") as file:  # noqa: PTH123
                known = lasting_signature(os.fstat(file.fileno()))
                self._reads[path] = (path, known, digest(file.read()))
        except OSError:
            self._reads[path] = (path, UNKNOWN, MISSING)

    def resolved(self, importer: str, dotted: str, meant: str) -> None:
        """An import of ``importer`` was looked up."""
        self._imports.setdefault(importer, {})[dotted] = meant

    def dependencies(self, root: Path) -> Dependencies:
        """All that was gathered."""
        imports: dict[str, dict[str, str]] = {}
        foreign: dict[str, tuple[frozenset[str], tuple[str, ...]]] = {}
        for importer, modules in self._imports.items():
            outside = tuple(name for name in modules if not (modules[name] or name[0] == "."))
            inside = {name: meant for name, meant in modules.items() if name not in outside}
            if inside:
                imports[importer] = inside
            if outside:
                tops = {name.partition(".")[0] for name in outside}
                foreign[importer] = (frozenset(tops | {f"{top}.py" for top in tops}), outside)
        return Dependencies(str(root), tuple(self._reads.values()), imports, foreign)
