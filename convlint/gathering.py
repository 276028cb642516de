"""Puts the reports on single files together to what one run found."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from convlint.findings import Finding, Location
from convlint.judging import NOTHING_TO_SAY
from convlint.outcome import Outcome, keep_wanted

if TYPE_CHECKING:
    from collections.abc import Collection

    from convlint.config import SettingsFinder
    from convlint.judging import FileReport
    from convlint.settings import Settings
    from convlint.suppressions import Suppression


class Gathering:
    """What was found so far, before settings and comments choose from it."""

    def __init__(self, finder: SettingsFinder, outcome: Outcome) -> None:
        self.outcome = outcome
        self._finder = finder
        self._found: dict[tuple[str, Location, str], Finding] = {}
        self._judged: dict[str, Collection[str]] = {}
        self._suppressions: dict[str, tuple[Suppression, ...]] = {}
        self._imported_alone: set[str] = set()
        self._real_paths: dict[str, str] = {}
        self._settings: dict[str, Settings] = {}

    def take(self, report: FileReport, path: str, shown: str) -> None:
        """Count in what the rules have to say of one file."""
        outcome = self.outcome
        if report is NOTHING_TO_SAY:
            outcome.files += 1
            outcome.checked.add(shown)
            return
        if report.problem is not None:
            outcome.problems.append(report.problem.error(shown))
            return
        settings = self._settings_of(path)
        failed = {fault.rule for fault in report.faults}
        for fault in report.faults:
            if not fault.rule or fault.rule in settings.selection:
                outcome.faults.append(fault.error(shown))
        if "" in failed:
            return
        outcome.files += 1
        outcome.checked.add(shown)
        for finding in report.findings:
            if finding.slug in settings.selection:
                self._keep(finding)
        self._suppressions[shown] = report.suppressions
        self._judged[shown] = _without(settings.selection.slugs, failed) if report.complete else ()
        if report.standalone:
            self._imported_alone.add(shown)

    def _settings_of(self, path: str) -> Settings:
        directory = path.rpartition(os.sep)[0]
        if directory not in self._settings:
            self._settings[directory] = self._finder.for_file(Path(path))
        return self._settings[directory]

    def settle(self, *, whole_project: bool) -> None:
        """Let through what settings and comments allow, each fault once.

        ``whole_project`` says that the files around those checked were checked as well.
        """
        judged = {
            shown: () if shown in self._imported_alone and not whole_project else slugs
            for shown, slugs in self._judged.items()
        }
        keep_wanted(
            self._found.values(),
            self._finder,
            self.outcome,
            judged=judged,
            suppressions=self._suppressions,
        )

    def _keep(self, finding: Finding) -> None:
        """A fault in a file that several others import is seen from each of them."""
        place = finding.location
        real = self._real_paths.get(place.path)
        if real is None:
            real = os.path.realpath(place.path)
            self._real_paths[place.path] = real
        key = (real, msgspec.structs.replace(place, path=""), finding.slug)
        known = self._found.get(key)
        if known is None or _weight(finding) > _weight(known):
            self._found[key] = finding


def _without(slugs: frozenset[str], failed: set[str]) -> frozenset[str]:
    return slugs - failed if failed else slugs


def _weight(finding: Finding) -> tuple[int, int]:
    return (finding.severity.rank, finding.confidence.rank)
