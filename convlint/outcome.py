"""What one run over source found, and which of it a reader should see."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from convlint import sources
from convlint.errors import UserError
from convlint.findings import Finding, Location, Severity, Verdict
from convlint.suppressions import (
    Suppression,
    find_suppressions,
    unused_suppressions,
    without_suppressed,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from convlint.catalogue import RuleCard
    from convlint.config import SettingsFinder
    from convlint.program.facts import TrainingProgram
    from convlint.settings import Settings

UNUSED_SUPPRESSION = "unused-suppression"
"""The rule whose findings only the engine can make: it alone knows what comments silenced."""


class SourceTexts(dict[str, str]):
    """The text of source files by their shown path, read when somebody first asks for it."""

    def __missing__(self, shown: str) -> str:
        try:
            text = sources.decode(sources.read_file(Path(shown)), shown)
        except UserError:
            text = ""
        self[shown] = text
        return text

    def get(self, shown: str, default: object = None) -> str:
        """The text; empty when the file cannot be read."""
        return self[shown]


class Outcome(msgspec.Struct):
    """What one run over source found.

    ``findings`` are those a reader should see, ``hidden`` counts the info findings kept back,
    ``failing`` those at or above ``fail-on`` that no measurement refutes. ``problems`` are files
    that could not be read or parsed, ``files`` counts the others, ``faults`` what convlint itself
    failed at (``failed_rules``: the measured checks among it). ``sources`` has the text of files;
    ``checked`` are the paths of those that were judged.
    """

    findings: list[Finding] = msgspec.field(default_factory=list)
    problems: list[UserError] = msgspec.field(default_factory=list)
    faults: list[UserError] = msgspec.field(default_factory=list)
    empty: list[str] = msgspec.field(default_factory=list)
    """Directories named that hold no Python file."""
    programs: list[TrainingProgram] = msgspec.field(default_factory=list)
    sources: SourceTexts = msgspec.field(default_factory=SourceTexts)
    checked: set[str] = msgspec.field(default_factory=set)
    failed_rules: set[str] = msgspec.field(default_factory=set)
    files: int = 0
    hidden: int = 0
    failing: int = 0


def keep_wanted(
    findings: Iterable[Finding],
    finder: SettingsFinder,
    outcome: Outcome,
    *,
    shown_by_source: Iterable[Finding] = (),
    judged: Mapping[str, Collection[str]] = MappingProxyType({}),
    suppressions: Mapping[str, tuple[Suppression, ...]] = MappingProxyType({}),
) -> None:
    """Add to ``outcome`` the findings of any files that settings and comments let through.

    A measurement that refutes a finding lowers it to info; it stays visible when the source alone
    would have shown it: ``shown_by_source`` has the findings as they were. ``judged`` has, for the
    files whose comments are to be judged themselves, the slugs of the rules that saw the whole
    file. ``suppressions`` has the comments of files where they are known; the text of the others
    is read for them.
    """
    severities = {(f.slug, f.location): f.severity for f in shown_by_source}
    by_file: dict[str, list[Finding]] = {path: [] for path in judged}
    for finding in map(_with_display_path, findings):
        by_file.setdefault(finding.location.path, []).append(finding)
    for shown, group in by_file.items():
        comments = suppressions.get(shown)
        if comments is None:
            comments = find_suppressions(outcome.sources[shown])
        if not group and not comments:
            continue
        settings = finder.for_file(Path(shown))
        rules = settings.selection
        if shown in judged:
            group += unused_comments(
                comments,
                group,
                shown,
                rules.slugs,
                judged[shown],
                settings.catalogue,
                outcome.sources,
            )
        kept = [
            finding
            for finding in without_suppressed(group, comments)
            if finding.slug in rules and finding.confidence.rank >= settings.min_confidence.rank
        ]
        _take(kept, Path(shown), settings, outcome, severities)
    outcome.findings.sort(key=lambda finding: finding.sort_key)


def unused_comments(
    suppressions: tuple[Suppression, ...],
    findings: list[Finding],
    path: str,
    selected: Collection[str],
    judged: Collection[str],
    catalogue: tuple[RuleCard, ...],
    texts: Mapping[str, str],
) -> list[Finding]:
    """Findings about comments that silence nothing, when the rule for them is ``selected``.

    ``catalogue`` has every rule a comment may name, ``texts`` the text of the file.
    """
    if not suppressions or UNUSED_SUPPRESSION not in selected:
        return []
    unused = next((card for card in catalogue if card.slug == UNUSED_SUPPRESSION), None)
    if unused is None:
        return []
    return list(
        unused_suppressions(
            suppressions,
            findings,
            path=path,
            texts=texts,
            unused=unused,
            catalogue=catalogue,
            judged=judged,
        )
    )


def _with_display_path(finding: Finding) -> Finding:
    """``finding`` with paths as ``check`` shows them; measured places are absolute."""

    def shown(location: Location) -> Location:
        path = sources.display_path(Path(location.path))
        return location if path == location.path else msgspec.structs.replace(location, path=path)

    return msgspec.structs.replace(
        finding,
        location=shown(finding.location),
        related=tuple(
            msgspec.structs.replace(related, location=shown(related.location))
            for related in finding.related
        ),
        fix=None
        if finding.fix is None
        else msgspec.structs.replace(
            finding.fix,
            edits=tuple(
                msgspec.structs.replace(edit, location=shown(edit.location))
                for edit in finding.fix.edits
            ),
        ),
    )


def _take(
    findings: list[Finding],
    file: Path,
    settings: Settings,
    outcome: Outcome,
    severities: Mapping[tuple[str, Location], Severity] = MappingProxyType({}),
) -> None:
    if not findings:
        return
    silenced = settings.ignored_in(file)
    for finding in findings:
        if finding.slug in silenced:
            continue
        severity = severities.get((finding.slug, finding.location), finding.severity)
        given = settings.severity_in(file, finding.slug)
        if given is not None:
            severity = given
            if finding.judgement is None or finding.judgement.verdict is not Verdict.REFUTED:
                finding = msgspec.structs.replace(finding, severity=given)
        visible = max(severity, finding.severity, key=lambda s: s.rank)
        if not settings.shows(finding.slug, visible):
            outcome.hidden += 1
            continue
        outcome.findings.append(finding)
        judged = finding.judgement
        refuted = judged is not None and judged.verdict is Verdict.REFUTED
        outcome.failing += not refuted and settings.fails(finding.severity)
