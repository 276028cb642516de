"""Judges the files of one run, which share what was read of their project."""

from __future__ import annotations

import gc
import os
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from convlint import sources
from convlint.dependencies import Surroundings, digest, lasting_signature
from convlint.errors import UserError
from convlint.judging import (
    NOTHING_TO_SAY,
    Complaint,
    FileReport,
    JudgedFile,
    extract_facts,
    judge_source,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from convlint.config import SettingsFinder
    from convlint.program.facts import TrainingProgram
    from convlint.recording import RecordingIndex


class Judge:
    """``replaced`` has bytes that stand for those of files on the disk, by shown path."""

    def __init__(
        self,
        finder: SettingsFinder,
        surroundings: Surroundings | None = None,
        replaced: Mapping[str, bytes] = MappingProxyType({}),
    ) -> None:
        self._finder = finder
        self._surroundings = surroundings or Surroundings()
        self._replaced = replaced
        self._index: RecordingIndex | None = None

    def judge(self, path: str, shown: str) -> JudgedFile:
        """Read and judge a file. Never raises."""
        try:
            data, status = sources.read_with_status(Path(path))
        except UserError as problem:
            return JudgedFile(FileReport(problem=Complaint(problem.message)))
        report = self.judge_bytes(data, path, shown)
        return JudgedFile(report, lasting_signature(status), digest(data))

    def load_rules(self, jobs: Iterable[tuple[str, str]]) -> None:
        """Load what judging these files, by path and shown path, will need."""
        from convlint import recording  # noqa: F401

        for path, _ in jobs:
            with suppress(UserError):
                _ = self._finder.for_file(Path(path)).every_rule

    def judge_bytes(self, data: bytes, path: str, shown: str) -> FileReport:
        """Judge what a file holds, or would hold. Never raises."""
        if not sources.may_matter(data):
            return NOTHING_TO_SAY
        try:
            settings = self._finder.for_file(Path(path))
        except UserError as problem:
            return FileReport(problem=Complaint(problem.message))
        report = judge_source(
            data,
            shown,
            project_root=self._root(path),
            index=self._shared_index(),
            rules=settings.every_rule,
        )

        _collect_when_due()
        if report.problem is not None and not sources.mentions_ml_library(data):
            return NOTHING_TO_SAY
        return report

    def facts(self, data: bytes, path: str, shown: str) -> TrainingProgram:
        """What is understood of a file that holds ``data``.

        Raises:
            UserError: it cannot be decoded or parsed.
        """
        _, program = extract_facts(
            data, shown, project_root=self._root(path), index=self._shared_index()
        )
        _collect_when_due()
        return program

    def _root(self, path: str) -> Path:
        directory = os.path.dirname(os.path.abspath(path))  # noqa: PTH100, PTH120
        return Path(self._surroundings.root_of(directory))

    def _shared_index(self) -> RecordingIndex:
        if self._index is None:
            from convlint.recording import RecordingIndex

            self._index = RecordingIndex(
                {Path(os.path.realpath(path)): data for path, data in self._replaced.items()}
            )
        return self._index


_COLLECTED_AFTER = 800_000
"""New objects after which cycles are looked for: some ten thousand lines of source."""


@contextmanager
def collecting_between_files() -> Iterator[None]:
    """While this lasts, garbage is looked for between files only, when there is much.

    A syntax tree is made of very many objects that live as long as the work on their file; looking
    through them again and again while they are made takes a quarter of the whole run.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _collect_when_due() -> None:
    if gc.get_count()[0] > _COLLECTED_AFTER:
        gc.collect()
