"""Runs the rules over source: files in, findings out.

A file that cannot be read or parsed, and a rule that fails, become a line for the user; the other
files and rules go on.
"""

from __future__ import annotations

import contextlib
import gc
import os
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from convlint import sources
from convlint.catalogue import cards_of, rule_cards
from convlint.config import Overrides, SettingsFinder
from convlint.discovery import find_files
from convlint.errors import UserError
from convlint.findings import Confidence, Finding, Location
from convlint.judging import extract_facts, judge_file, own_fault, run_measured_rules, run_rules
from convlint.outcome import Outcome, keep_wanted, unused_comments
from convlint.selection import RuleChoice, resolve_selection
from convlint.suppressions import Suppression, find_suppressions, without_suppressed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from convlint.judging import FileReport
    from convlint.program import ProjectIndex
    from convlint.rules import Rule

__all__ = [
    "STDIN",
    "STDIN_NAME",
    "Outcome",
    "check_paths",
    "check_source",
    "keep_wanted",
    "run_measured_rules",
    "run_rules",
]

STDIN = "-"
STDIN_NAME = "<stdin>"


def check_paths(
    paths: Iterable[str | os.PathLike[str]],
    overrides: Overrides | None = None,
    *,
    stdin: bytes | None = None,
    stdin_name: str = STDIN_NAME,
    facts_only: bool = False,
    replaced: Mapping[str, bytes] = MappingProxyType({}),
) -> Outcome:
    """Check files and directories; ``-`` stands for ``stdin``, shown as ``stdin_name``.

    With ``facts_only`` no rule runs and ``programs`` holds what was extracted. ``replaced`` has
    bytes that stand for those on the disk, by shown path: files as they would be once fixed.

    Raises:
        UserError: the configuration or the choice of rules has a mistake.
    """
    finder = SettingsFinder(overrides)
    run = _Run(finder, facts_only, replaced)
    outcome = run.outcome
    for shown, data in replaced.items():
        outcome.sources[shown] = sources.decode(data, shown)
    named = [os.fspath(path) for path in paths]
    for name in filter(None, named):
        finder.for_directory(Path(name) if Path(name).is_dir() else Path(name).parent)
    if STDIN in named:
        shown = sources.display_path(Path(stdin_name))
        data = replaced.get(shown, stdin or b"")
        with contextlib.suppress(UserError):
            outcome.sources[shown] = sources.decode(data, shown)
        run.check(data, Path(stdin_name), shown)
    files = find_files(
        (name for name in named if name != STDIN),
        exclusion_of=finder.for_directory,
        on_problem=outcome.problems.append,
        on_nothing=outcome.empty.append,
    )
    with _collecting_between_files() as collect:
        for file in files:
            shown = sources.display_path(file)
            try:
                data = replaced[shown] if shown in replaced else sources.read_file(file)
            except UserError as problem:
                outcome.problems.append(problem)
                continue
            run.check(data, file, shown)
            collect()
    in_walk = any(name != STDIN and Path(name).is_dir() for name in named)
    run.settle(whole_project=in_walk)
    return outcome


def check_source(
    source: str,
    path: str = STDIN_NAME,
    *,
    select: Iterable[str] | None = None,
    ignore: Iterable[str] = (),
    rules: Iterable[Rule] | None = None,
    min_confidence: Confidence = Confidence.MEDIUM,
    project_root: Path | None = None,
) -> list[Finding]:
    """Every finding of any severity in one source text, configuration files left aside.

    ``select`` and ``ignore`` take slugs, codes and code prefixes; ``rules`` runs exactly these
    rules instead. Suppression comments hold.

    Raises:
        UserError: a name matches no rule.
        convlint.program.SourceSyntaxError: ``source`` does not parse.
    """
    from convlint.program import extract_program
    from convlint.rules import all_rules

    if rules is None:
        choice = RuleChoice(select=None if select is None else tuple(select), ignore=tuple(ignore))
        selection = resolve_selection((choice,))
        rules = (rule for rule in all_rules() if rule.slug in selection)
    if not sources.mentions_ml_library(source.encode(errors="surrogatepass")):
        return []
    program = extract_program(source, path, project_root=project_root)
    rules = tuple(rules)
    findings = run_rules(rules, program)
    suppressions = find_suppressions(source)
    judged = {rule.slug for rule in rules}
    known = tuple({card.slug: card for card in (*rule_cards(), *cards_of(rules))}.values())
    unused = unused_comments(suppressions, findings, path, judged, judged, known, {path: source})
    kept = without_suppressed([*findings, *unused], suppressions)
    kept = [finding for finding in kept if finding.confidence.rank >= min_confidence.rank]
    return sorted(kept, key=lambda finding: finding.sort_key)


_COLLECTED_AFTER = 400_000
"""New objects after which cycles are looked for: some thousand lines of source."""


@contextlib.contextmanager
def _collecting_between_files() -> Iterator[Callable[[], None]]:
    """Look for garbage between files only, by the function this yields.

    A syntax tree is made of very many objects that live as long as the work on their file; looking
    through them again and again while they are made takes a quarter of the whole run.
    """
    enabled = gc.isenabled()
    gc.disable()

    def collect() -> None:
        if gc.get_count()[0] > _COLLECTED_AFTER:
            gc.collect()

    try:
        yield collect
    finally:
        if enabled:
            gc.enable()


class _Run:
    """One walk over files: what was found so far, and what the files share."""

    def __init__(
        self, finder: SettingsFinder, facts_only: bool, replaced: Mapping[str, bytes]
    ) -> None:
        self.outcome = Outcome()
        self._finder = finder
        self._facts_only = facts_only
        self._replaced = replaced
        self._index: ProjectIndex | None = None
        self._found: dict[tuple[str, Location, str], Finding] = {}
        self._judged: dict[str, Collection[str]] = {}
        self._suppressions: dict[str, tuple[Suppression, ...]] = {}
        self._imported_alone: set[str] = set()
        self._real_paths: dict[str, str] = {}

    def check(self, data: bytes, file: Path, shown: str) -> None:
        """Judge one file; what cannot be read or parsed becomes a problem of the outcome."""
        if self._facts_only:
            self._extract(data, file, shown)
        elif not sources.mentions_ml_library(data):
            self.outcome.files += 1
        else:
            report = judge_file(
                data,
                shown,
                project_root=_project_root(file),
                index=self._shared_index(),
                rules=self._finder.for_file(file).every_rule,
            )
            if any(finding.fix is not None for finding in report.findings):
                # Fixes speak of this text, not of what the file may hold by the time they are made.
                self.outcome.sources[shown] = sources.decode(data, shown)
            self.take(report, file, shown)

    def take(self, report: FileReport, file: Path, shown: str) -> None:
        """Count in what the rules have to say of one file."""
        outcome = self.outcome
        if report.problem is not None:
            outcome.problems.append(report.problem.error(shown))
            return
        settings = self._finder.for_file(file)
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
        self._judged[shown] = settings.selection.slugs - failed if report.complete else ()
        if report.standalone:
            self._imported_alone.add(shown)

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

    def _extract(self, data: bytes, file: Path, shown: str) -> None:
        outcome = self.outcome
        if not sources.mentions_ml_library(data):
            outcome.files += 1
            return
        try:
            _, program = extract_facts(
                data, shown, project_root=_project_root(file), index=self._shared_index()
            )
        except UserError as problem:
            outcome.problems.append(problem)
        except Exception as error:
            outcome.faults.append(UserError(own_fault("reading the program", error), path=shown))
        else:
            outcome.files += 1
            outcome.programs.append(program)

    def _shared_index(self) -> ProjectIndex:
        if self._index is None:
            from convlint.program import ProjectIndex

            self._index = ProjectIndex(
                {Path(os.path.realpath(path)): data for path, data in self._replaced.items()}
            )
        return self._index

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


def _weight(finding: Finding) -> tuple[int, int]:
    return (finding.severity.rank, finding.confidence.rank)


def _project_root(file: Path) -> Path:
    """The directory imports of the project are looked up from: the nearest with a project file."""
    absolute = Path(os.path.abspath(file))  # noqa: PTH100
    for parent in absolute.parents:
        if (parent / "pyproject.toml").exists() or (parent / ".git").exists():
            return parent
    return absolute.parent
