"""Keeps the reports on files from one run to the next, in an SQLite database.

Nothing here is needed to be right: a database that is damaged, foreign, locked, on a full or
read-only disk is made anew or done without, and the files are checked.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from convlint.dependencies import Signature
from convlint.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

DIRECTORY_NAME = ".convlint_cache"

_PROJECT_FILES = ("pyproject.toml", "convlint.toml", ".convlint.toml", ".git")

_LAYOUT = 1
"""Part of the path: databases of another layout are left to the versions that read them."""

_APPLICATION = 0x636F6E76
"""``conv``: tells our databases from others that may lie at the same place."""

_SCHEMA = """
CREATE TABLE contexts (
    id INTEGER PRIMARY KEY, directory TEXT, stamp TEXT, cards BLOB, ignored BLOB, used INTEGER,
    UNIQUE (directory, stamp)
);
CREATE TABLE reports (
    context INTEGER, path TEXT, size INTEGER, modified INTEGER, changed INTEGER, inode INTEGER,
    digest BLOB, options TEXT, report BLOB, checksum INTEGER,
    PRIMARY KEY (context, path)
) WITHOUT ROWID;
"""

_PATIENCE = 5.0
"""Seconds to wait for another run that is writing."""

_KEPT_FOR = 30 * 86_400
"""Seconds after which reports nobody asked for are dropped."""

_CONTEXTS_KEPT = 12

_MOST_PLACEHOLDERS = 500
"""SQLite takes at least 999 in one statement."""


def cache_directory(given: Path | None = None) -> Path:
    """``given``, or beside the project's own files, or in the working directory."""
    if given is not None:
        return given
    here = Path.cwd()
    for directory in (here, *here.parents):
        if any((directory / name).exists() for name in _PROJECT_FILES):
            return directory / DIRECTORY_NAME
    return here / DIRECTORY_NAME


def remove(directory: Path) -> bool:
    """Remove a cache; whether there was one.

    Raises:
        UserError: it is no cache of convlint's, or cannot be removed.
    """
    if not directory.exists():
        return False
    if not (directory / "CACHEDIR.TAG").exists() and any(directory.iterdir()):
        raise UserError("not removed: it was not made by convlint", path=str(directory))
    import shutil

    try:
        shutil.rmtree(directory)
    except OSError as error:
        raise UserError(f"cannot remove: {error.strerror or error}", path=str(directory)) from None
    return True


class StoredReport(NamedTuple):
    """One row: what the file was when it was judged, with which rule options, and the report.

    ``report`` is None for a file that mentions no library.
    """

    signature: Signature
    digest: bytes
    options: str
    report: bytes | None


class ReportStore:
    """The reports of runs from one working directory by one version of convlint.

    ``directory`` is where the database lives, ``working_directory`` what the paths of the rows are
    relative to, ``stamp`` stands for everything a report depends on that is the same for all
    files. ``note`` hears, in one line, why the store cannot be used. No method raises.
    """

    def __init__(
        self,
        directory: Path,
        *,
        working_directory: str,
        stamp: str,
        note: Callable[[str], None],
    ) -> None:
        self.directory = directory
        self._working_directory = working_directory
        self._stamp = stamp
        self._note = note
        self._database: sqlite3.Connection | None = None
        self._context: int | None = None
        self.cards: bytes | None = None
        """The cards of the rules, when an earlier run has stored them."""
        self.ignored: bytes | None = None
        """What an earlier run found Git to ignore."""
        with self._guarded():
            self._open()

    def recall(self, paths: Collection[str] | None = None) -> dict[str, StoredReport]:
        """What is stored, by path; ``paths`` limits it to these."""
        rows: list[tuple[object, ...]] = []
        if self._context is not None:
            columns = "path, size, modified, changed, inode, digest, options, report, checksum"
            query = f"SELECT {columns} FROM reports WHERE context = ?"
            values: tuple[object, ...] = (self._context,)
            if paths is not None and len(paths) <= _MOST_PLACEHOLDERS:
                query += f" AND path IN ({','.join('?' * len(paths))})"
                values += tuple(paths)
            with self._guarded():
                if self._database is not None:
                    rows = self._database.execute(query, values).fetchall()
        stored: dict[str, StoredReport] = {}
        for path, size, modified, changed, inode, digest, options, report, checksum in rows:
            if isinstance(path, str) and (
                report is None or (isinstance(report, bytes) and zlib.crc32(report) == checksum)
            ):
                stored[path] = StoredReport(
                    Signature(size, modified, changed, inode),  # type: ignore[arg-type]
                    digest,  # type: ignore[arg-type]
                    options,  # type: ignore[arg-type]
                    report,
                )
        return stored

    def paths(self) -> list[str]:
        """Of all files that something is stored of."""
        found: list[str] = []
        with self._guarded():
            if self._database is not None and self._context is not None:
                query = "SELECT path FROM reports WHERE context = ?"
                found = [path for (path,) in self._database.execute(query, (self._context,))]
        return found

    def keep(
        self,
        reports: Iterable[tuple[str, StoredReport]],
        *,
        gone: Collection[str] = (),
        cards: bytes = b"",
        ignored: bytes = b"",
    ) -> None:
        """Store reports by path and forget those of ``gone``, all at once or not at all."""
        rows = [
            (
                path,
                *row.signature,
                row.digest,
                row.options,
                row.report,
                0 if row.report is None else zlib.crc32(row.report),
            )
            for path, row in reports
        ]
        with self._guarded():
            if self._database is None:
                return
            with self._transaction(self._database) as database:
                context = self._own_context(database, cards, ignored)
                database.executemany(
                    f"INSERT OR REPLACE INTO reports VALUES ({context},?,?,?,?,?,?,?,?,?)", rows
                )
                database.executemany(
                    f"DELETE FROM reports WHERE context = {context} AND path = ?",
                    [(path,) for path in gone],
                )
            self._context = context

    def close(self) -> None:
        """Let go of the database."""
        if self._database is not None:
            with contextlib.suppress(sqlite3.Error):
                self._database.close()
            self._database = None

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            self.close()
            self._note(f"the cache in {self.directory} is not used: {error}")

    @contextlib.contextmanager
    def _transaction(self, database: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
        database.execute("BEGIN IMMEDIATE")
        try:
            yield database
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                database.execute("ROLLBACK")
            raise
        database.execute("COMMIT")

    def _open(self) -> None:
        place = self.directory / str(_LAYOUT)
        for attempt in (1, 2):
            make_directory(self.directory, place)
            self._database = sqlite3.connect(
                place / "reports.sqlite3", timeout=_PATIENCE, isolation_level=None
            )
            try:
                self._prepare(self._database)
                return
            except sqlite3.DatabaseError as error:
                # Damage is a DatabaseError itself; locks and full disks are OperationalErrors.
                self.close()
                if attempt == 2 or isinstance(error, sqlite3.OperationalError):
                    raise
                self._note(f"the cache in {self.directory} is made anew: {error}")
                _set_aside(place)

    def _prepare(self, database: sqlite3.Connection) -> None:
        # Only a machine that loses its power could lose more than this run's reports by it.
        database.execute("PRAGMA synchronous = OFF")
        (application,) = database.execute("PRAGMA application_id").fetchone()
        if application != _APPLICATION:
            database.execute("PRAGMA journal_mode = WAL")
            with self._transaction(database):
                (application,) = database.execute("PRAGMA application_id").fetchone()
                (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
                if application != _APPLICATION and tables:
                    raise sqlite3.DatabaseError("it belongs to another program")
                if application != _APPLICATION:
                    for statement in filter(str.strip, _SCHEMA.split(";")):
                        database.execute(statement)
                    database.execute(f"PRAGMA application_id = {_APPLICATION}")

        try:
            row = database.execute(
                "SELECT id, cards, ignored FROM contexts WHERE directory = ? AND stamp = ?",
                (self._working_directory, self._stamp),
            ).fetchone()
        except sqlite3.OperationalError as error:
            if "no such" not in str(error):
                raise
            raise sqlite3.DatabaseError(str(error)) from None
        if row is not None:
            self._context, self.cards, self.ignored = row

    def _own_context(self, database: sqlite3.Connection, cards: bytes, ignored: bytes) -> int:
        now = int(time.time())
        ours = (self._working_directory, self._stamp)
        database.execute(
            "INSERT INTO contexts (directory, stamp, cards, ignored, used) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (directory, stamp)"
            " DO UPDATE SET used = excluded.used, ignored = excluded.ignored",
            (*ours, cards, ignored, now),
        )
        (context,) = database.execute(
            "SELECT id FROM contexts WHERE directory = ? AND stamp = ?", ours
        ).fetchone()
        if self._context is None:
            database.execute(
                "DELETE FROM contexts WHERE used < ? OR id NOT IN"
                " (SELECT id FROM contexts ORDER BY used DESC, id DESC LIMIT ?)",
                (now - _KEPT_FOR, _CONTEXTS_KEPT),
            )
            database.execute("DELETE FROM reports WHERE context NOT IN (SELECT id FROM contexts)")
        return int(context)


def make_directory(directory: Path, place: Path) -> None:
    """Make ``place`` in the cache ``directory``, which is hidden from Git and from backups."""
    if place.is_dir():
        return
    place.mkdir(parents=True, exist_ok=True)
    (directory / ".gitignore").write_text("# Made by convlint.\n*\n", encoding="utf-8")
    (directory / "CACHEDIR.TAG").write_text(
        "Signature: 8a477f597d28d172789f06886806bc55\n"
        "# This directory holds what convlint has found; `convlint clean` removes it.\n",
        encoding="utf-8",
    )


def _set_aside(place: Path) -> None:
    """Take a damaged database away as a whole: a run that still has it open keeps its files, and
    no journal is left beside the next one."""
    import shutil

    aside = place.with_name(f"broken-{os.getpid()}-{time.time_ns()}")
    place.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)
