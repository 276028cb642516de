"""Recalls the report on a file that has not changed, and keeps new ones for the next run."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from convlint import __version__
from convlint import catalogue as rule_catalogue
from convlint import rules as rule_package
from convlint.catalogue import RuleCard
from convlint.dependencies import digest, lasting_signature, signature
from convlint.judging import NOTHING_TO_SAY, FileReport
from convlint.report_store import ReportStore, StoredReport

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from convlint.dependencies import Surroundings
    from convlint.discovery import Verdicts
    from convlint.judging import JudgedFile

_WRITTEN_AFTER = 50
"""New reports that are written together: a run that is killed loses no more."""

_cards_decoder = msgspec.msgpack.Decoder(tuple[RuleCard, ...])
_verdicts_decoder = msgspec.msgpack.Decoder(dict[str, dict[str, bool | None]])
_report_decoder = msgspec.msgpack.Decoder(FileReport)


class Memory:
    """What earlier runs found. ``note`` hears in one line why something is not remembered."""

    def __init__(
        self, directory: Path, surroundings: Surroundings, note: Callable[[str], None]
    ) -> None:
        self._store = ReportStore(
            directory,
            working_directory=os.getcwd(),  # noqa: PTH109
            stamp=installation_stamp(),
            note=note,
        )
        self._surroundings = surroundings
        self._stored: dict[str, StoredReport] = {}
        self._new: list[tuple[str, StoredReport]] = []
        self._seen: set[str] = set()
        self._directories: dict[str, str] = {}
        self._cards: tuple[RuleCard, ...] | None = None
        if self._store.cards:
            with contextlib.suppress(msgspec.DecodeError):
                self._cards = _cards_decoder.decode(self._store.cards)
        self.ignored: Verdicts = {}
        """What Git ignores; whoever walks adds to it."""
        if self._store.ignored:
            with contextlib.suppress(msgspec.DecodeError):
                self.ignored = _verdicts_decoder.decode(self._store.ignored)
        self._ignored_before = _size(self.ignored)

    @contextlib.contextmanager
    def rules_known(self) -> Iterator[None]:
        """While this lasts, choosing among the rules does not load them, if they are remembered."""
        rule_catalogue.remember(self._cards)
        try:
            yield
        finally:
            rule_catalogue.remember(None)

    def prepare(self, paths: Collection[str] | None) -> None:
        """Read what is stored of files by these shown paths, or of all."""
        self._stored = self._store.recall(paths)

    def recall(
        self, path: str, shown: str, status: os.stat_result, options: str
    ) -> FileReport | None:
        """The report on a file as it is now, under these rule options; None when there is none."""
        self._seen.add(shown)
        known = self._stored.get(shown)
        if known is None or known.options != options:
            return None
        renewed = None
        if signature(status) != known.signature:
            try:
                with open(path, "rb") as file:  # noqa: PTH123
                    status = os.fstat(file.fileno())
                    if digest(file.read()) != known.digest:
                        return None
            except OSError:
                return None
            renewed = known._replace(signature=lasting_signature(status))
        report = self._decoded(known, path)
        if report is not None and renewed is not None and renewed != known:
            self._new.append((shown, renewed))
        return report

    def _decoded(self, known: StoredReport, path: str) -> FileReport | None:
        if known.report is None:
            return NOTHING_TO_SAY
        try:
            report = _report_decoder.decode(known.report)
        except msgspec.DecodeError:
            return None
        directory = self._absolute(path.rpartition(os.sep)[0])
        return report if self._surroundings.hold(report.dependencies, directory) else None

    def _absolute(self, directory: str) -> str:
        if directory not in self._directories:
            self._directories[directory] = os.path.abspath(directory)  # noqa: PTH100
        return self._directories[directory]

    def keep(self, shown: str, judged: JudgedFile, options: str) -> None:
        """Remember a new report."""
        if not judged.digest or judged.report.faults:
            return
        plain = judged.report == NOTHING_TO_SAY
        report = None if plain else msgspec.msgpack.encode(judged.report)
        self._new.append((shown, StoredReport(judged.signature, judged.digest, options, report)))
        if len(self._new) >= _WRITTEN_AFTER:
            self._write(())

    def close(self) -> None:
        """Write what is new."""
        if self._new or self._cards is None or _size(self.ignored) > self._ignored_before:
            gone = [
                shown
                for shown in self._store.paths()
                if shown not in self._seen and not os.path.exists(shown)  # noqa: PTH110
            ]
            self._write(gone)
        self._store.close()

    def _write(self, gone: Collection[str]) -> None:
        if self._cards is None:
            self._cards = rule_catalogue.rule_cards()
        encode = msgspec.msgpack.encode
        self._store.keep(
            self._new, gone=gone, cards=encode(self._cards), ignored=encode(self.ignored)
        )
        self._new = []


def _size(verdicts: Verdicts) -> int:
    return sum(map(len, verdicts.values()))


def installation_stamp() -> str:
    """Changes whenever convlint, a rule, a package of rules or Python does."""
    from convlint.custom_rules import fingerprint

    python = f"{sys.implementation.cache_tag} {sys.version_info[:3]} {msgspec.__version__}"
    return "\n".join((__version__, python, fingerprint(), *_own_files()))


def _own_files() -> list[str]:
    """What stands for the state of our own files: pip's record of them, or else each of them."""
    here = Path(__file__).parent
    record = here.parent / f"convlint-{__version__}.dist-info" / "RECORD"
    try:
        status = record.stat()
    except OSError:
        pass
    else:
        return [f"{status.st_size} {status.st_mtime_ns}"]
    files: list[str] = []
    waiting = [str(here), *rule_package.__path__]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name.endswith(".py"):
                    status = entry.stat()
                    files.append(f"{entry.name} {status.st_size} {status.st_mtime_ns}")
                elif entry.name != "__pycache__" and entry.is_dir():
                    waiting.append(entry.path)
    return files
