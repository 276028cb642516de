"""The files of one run and the report on each: remembered from an earlier run, or judged now."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from convlint import sources
from convlint.dependencies import digest
from convlint.discovery import find_files
from convlint.errors import UserError
from convlint.judging import own_fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from convlint.config import SettingsFinder
    from convlint.dependencies import Surroundings
    from convlint.judge import Judge
    from convlint.judging import FileReport, JudgedFile
    from convlint.memory import Memory
    from convlint.outcome import Outcome
    from convlint.settings import Overrides

Job = tuple[str, str]
"""The path of a file and the path it is shown as."""

FEWEST_FOR_PROCESSES = 24
"""Below this many files one process is done before another has started, except as its copy."""


class Workload:
    """``replaced`` has bytes that stand for those on the disk, by shown path."""

    def __init__(
        self,
        finder: SettingsFinder,
        judge: Judge,
        outcome: Outcome,
        replaced: Mapping[str, bytes],
        memory: Memory | None,
        surroundings: Surroundings,
    ) -> None:
        self._finder = finder
        self._judge = judge
        self._outcome = outcome
        self._replaced = replaced
        self._memory = memory
        self._surroundings = surroundings
        self._statuses: dict[str, os.stat_result] = {}
        self._options: dict[str, str] = {}

    def find(self, named: Iterable[str]) -> list[Job | UserError]:
        """The files these paths stand for, and in their place the paths that stand for none."""
        found: list[Job | UserError] = []
        files = find_files(
            named,
            exclusion_of=self._finder.for_directory,
            on_problem=found.append,
            on_nothing=self._outcome.empty.append,
            on_listing=self._know,
            verdicts=None if self._memory is None else self._memory.ignored,
        )
        for file in files:
            self._statuses[file.shown] = file.status
            found.append((file.path, file.shown))
        return found

    def _know(self, directory: str, names: frozenset[str]) -> None:
        self._finder.know(directory, names)
        self._surroundings.files.know(directory, names)

    def reports(
        self, files: Sequence[Job], overrides: Overrides | None, processes: int
    ) -> dict[str, FileReport]:
        """The report on every file, by its shown path."""
        reports: dict[str, FileReport] = {}
        left: list[Job] = []
        if self._memory is not None:
            self._memory.prepare([shown for _, shown in files])
        try:
            for path, shown in files:
                report = self._at_once(path, shown)
                if report is None:
                    left.append((path, shown))
                else:
                    reports[shown] = report
            for (path, shown), judged in self._judged(left, overrides, processes):
                reports[shown] = self._pinned(judged, path, shown)
                if self._memory is not None:
                    self._memory.keep(shown, judged, self._options_for(path))
        finally:
            if self._memory is not None:
                self._memory.close()
        return reports

    def extract(self, found: Iterable[Job | UserError]) -> None:
        """Put the facts of every file into the outcome."""
        outcome = self._outcome
        for entry in found:
            if isinstance(entry, UserError):
                outcome.problems.append(entry)
                continue
            path, shown = entry
            try:
                data = self._replaced.get(shown)
                data = sources.read_file(Path(path)) if data is None else data
                if sources.may_matter(data):
                    outcome.programs.append(self._judge.facts(data, path, shown))
                outcome.files += 1
            except UserError as problem:
                outcome.problems.append(problem)
            except Exception as error:
                fault = own_fault("reading the program", error)
                outcome.faults.append(UserError(fault, path=shown))

    def _at_once(self, path: str, shown: str) -> FileReport | None:
        """The report on a file that need not be read and judged in its turn."""
        if shown in self._replaced:
            return self._judge.judge_bytes(self._replaced[shown], path, shown)
        if self._memory is None:
            return None
        report = self._memory.recall(path, shown, self._statuses[shown], self._options_for(path))
        if report is not None and _speaks_of_text(report):
            _ = self._outcome.sources[shown]
        return report

    def _options_for(self, path: str) -> str:
        directory = path.rpartition(os.sep)[0]
        if directory not in self._options:
            self._options[directory] = self._finder.for_file(Path(path)).judging_key
        return self._options[directory]

    def _judged(
        self, left: Sequence[Job], overrides: Overrides | None, processes: int
    ) -> Iterator[tuple[Job, JudgedFile]]:
        if processes > 1 and len(left) >= FEWEST_FOR_PROCESSES:
            from convlint.workers import judge_in_processes

            yield from judge_in_processes(left, overrides, processes, self._replaced)
            return
        sizes = {job: self._statuses[job[1]].st_size for job in left if job[1] in self._statuses}
        if processes > 1 and len(sizes) == len(left) > 1:
            from convlint.copies import judge_in_copies, worth_copies

            if worth_copies(list(sizes.values())):
                yield from judge_in_copies(sizes, self._judge, processes)
                return
        for path, shown in left:
            yield (path, shown), self._judge.judge(path, shown)

    def _pinned(self, judged: JudgedFile, path: str, shown: str) -> FileReport:
        """The report, with the text its fixes speak of kept for them."""
        if not _speaks_of_text(judged.report):
            return judged.report
        try:
            data = sources.read_file(Path(path))
        except UserError:
            return judged.report
        report = judged.report
        if digest(data) != judged.digest:  # it has been changed in the meantime
            report = self._judge.judge_bytes(data, path, shown)
        if report.problem is None:
            self._outcome.sources[shown] = sources.decode(data, shown)
        return report


def _speaks_of_text(report: FileReport) -> bool:
    return any(finding.fix is not None for finding in report.findings)
