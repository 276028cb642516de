"""Runs the rules over source: files in, findings out.

A file that cannot be read or parsed, and a rule that fails, become a line for the user; the other
files and rules go on.
"""

from __future__ import annotations

import gc
import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from convlint import rules as catalogue
from convlint import sources
from convlint.config import Overrides, Settings, SettingsFinder
from convlint.errors import UserError
from convlint.findings import Confidence, Finding, Location, Severity, Verdict
from convlint.selection import RuleChoice
from convlint.suppressions import (
    Suppression,
    find_suppressions,
    unused_suppressions,
    without_suppressed,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from convlint.gpu_probes.observations import Observations
    from convlint.program import ProjectIndex
    from convlint.program.facts import TrainingProgram
    from convlint.rules import Rule

STDIN = "-"
STDIN_NAME = "<stdin>"

UNUSED_SUPPRESSION = "unused-suppression"
"""The rule whose findings only the engine can make: it alone knows what comments silenced."""

_ONE_LEVEL_DOWN = {Severity.ERROR: Severity.WARNING, Severity.WARNING: Severity.INFO}


@dataclass
class Outcome:
    """What one run over source found.

    ``findings`` are those a reader should see, ``hidden`` counts the info findings kept back,
    ``failing`` those at or above ``fail-on`` that no measurement refutes. ``problems`` are files
    that could not be read or parsed, ``files`` counts the others, ``faults`` what convlint itself failed at (``failed_rules``: the
    measured checks among it). ``sources`` has the text of every parsed file by its shown path.
    """

    findings: list[Finding] = field(default_factory=list)
    problems: list[UserError] = field(default_factory=list)
    faults: list[UserError] = field(default_factory=list)
    programs: list[TrainingProgram] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)
    failed_rules: set[str] = field(default_factory=set)
    files: int = 0
    hidden: int = 0
    failing: int = 0


def check_paths(
    paths: Iterable[str | os.PathLike[str]],
    overrides: Overrides | None = None,
    *,
    stdin: bytes | None = None,
    stdin_name: str = STDIN_NAME,
    facts_only: bool = False,
) -> Outcome:
    """Check files and directories; ``-`` stands for ``stdin``, shown as ``stdin_name``.

    With ``facts_only`` no rule runs and ``programs`` holds what was extracted.

    Raises:
        UserError: the configuration or the choice of rules has a mistake.
    """
    finder = SettingsFinder(overrides)
    run = _Run(finder, Outcome(), facts_only)
    outcome = run.outcome
    named = [os.fspath(path) for path in paths]
    for name in filter(None, named):
        finder.for_directory(Path(name) if Path(name).is_dir() else Path(name).parent)
    if STDIN in named:
        run.check(stdin or b"", Path(stdin_name), sources.display_path(Path(stdin_name)))
    files = sources.find_files(
        (name for name in named if name != STDIN),
        excluded=lambda path: finder.for_file(path).excludes(path),
        on_problem=outcome.problems.append,
    )
    with _collecting_between_files() as collect:
        for file in files:
            try:
                data = sources.read_file(file)
            except UserError as problem:
                outcome.problems.append(problem)
                continue
            run.check(data, file, sources.display_path(file))
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
    from convlint.selection import resolve_selection

    if rules is None:
        choice = RuleChoice(select=None if select is None else tuple(select), ignore=tuple(ignore))
        rules = resolve_selection((choice,)).rules
    if not sources.mentions_ml_library(source.encode(errors="surrogatepass")):
        return []
    program = extract_program(source, path, project_root=project_root)
    rules = tuple(rules)
    findings = run_rules(rules, program)
    suppressions = find_suppressions(source)
    unused = _unused(suppressions, findings, path, rules, {rule.slug for rule in rules})
    kept = without_suppressed([*findings, *unused], suppressions)
    kept = [finding for finding in kept if finding.confidence.rank >= min_confidence.rank]
    return sorted(kept, key=lambda finding: finding.sort_key)


def run_rules(
    rules: Iterable[Rule],
    program: TrainingProgram,
    *,
    min_confidence: Confidence = Confidence.LOW,
    on_failure: Callable[[Rule, Exception], None] | None = None,
) -> list[Finding]:
    """Judge ``program`` by the static check of every rule, in order of place, without repeats.

    In test code every severity is one level down. A rule that raises goes to ``on_failure`` and
    the others go on; without it the exception passes.
    """
    found: dict[tuple[object, str], Finding] = {}
    for rule in rules:
        if not rule.has_static():
            continue
        try:
            for finding in rule.static(program):
                key = (finding.location, finding.slug)
                if finding.confidence.rank >= min_confidence.rank and (
                    key not in found or finding.confidence.rank > found[key].confidence.rank
                ):
                    found[key] = finding
        except Exception as error:
            if on_failure is None:
                raise
            on_failure(rule, error)
    findings = sorted(found.values(), key=lambda finding: finding.sort_key)
    if program.role == "test":
        findings = [
            msgspec.structs.replace(
                finding, severity=_ONE_LEVEL_DOWN.get(finding.severity, finding.severity)
            )
            for finding in findings
        ]
    return findings


def run_measured_rules(
    rules: Iterable[Rule], seen: Observations, outcome: Outcome
) -> list[Finding]:
    """Judge what a probe saw. A rule that raises becomes a fault of ``outcome``."""
    from convlint.audit import measure

    findings: list[Finding] = []
    for rule in rules:
        try:
            findings += measure(seen, (rule,))
        except Exception as error:
            outcome.failed_rules.add(rule.slug)
            outcome.faults.append(_own_fault(f"rule {rule.slug}", seen.script, error))
    return sorted(findings, key=lambda finding: finding.sort_key)


def keep_wanted(
    findings: Iterable[Finding],
    finder: SettingsFinder,
    outcome: Outcome,
    *,
    shown_by_source: Iterable[Finding] = (),
    judged: Mapping[str, Collection[str]] = MappingProxyType({}),
) -> None:
    """Add to ``outcome`` the findings of any files that settings and comments let through.

    Text of the files is read when ``outcome.sources`` lacks it. A measurement that refutes a
    finding lowers it to info; it stays visible when the source alone would have shown it:
    ``shown_by_source`` has the findings as they were. ``judged`` has, for the files whose comments
    are to be judged themselves, the slugs of the rules that saw the whole file.
    """
    severities = {(f.slug, f.location): f.severity for f in shown_by_source}
    by_file: dict[str, list[Finding]] = {path: [] for path in judged}
    for finding in map(_with_display_path, findings):
        by_file.setdefault(finding.location.path, []).append(finding)
    for shown, group in by_file.items():
        source = outcome.sources.get(shown)
        if source is None:
            try:
                source = sources.decode(sources.read_file(Path(shown)), shown)
            except UserError:
                source = ""
            outcome.sources[shown] = source
        settings = finder.for_file(Path(shown))
        rules = settings.selection
        suppressions = find_suppressions(source)
        if shown in judged:
            group += _unused(suppressions, group, shown, rules.rules, judged[shown])
        kept = [
            finding
            for finding in without_suppressed(group, suppressions)
            if finding.slug in rules and finding.confidence.rank >= settings.min_confidence.rank
        ]
        _take(kept, Path(shown), settings, outcome, severities)
    outcome.findings.sort(key=lambda finding: finding.sort_key)


_COLLECTED_AFTER = 400_000
"""New objects after which cycles are looked for: some thousand lines of source."""


@contextmanager
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

    def __init__(self, finder: SettingsFinder, outcome: Outcome, facts_only: bool) -> None:
        self.outcome = outcome
        self._finder = finder
        self._facts_only = facts_only
        self._index: ProjectIndex | None = None
        self._found: dict[tuple[str, Location, str], Finding] = {}
        self._judged: dict[str, set[str]] = {}
        self._imported_alone: set[str] = set()
        """Files that run nothing themselves: other files may put their functions to a use that
        makes a comment necessary."""
        self._real_paths: dict[str, str] = {}

    def check(self, data: bytes, file: Path, shown: str) -> None:
        """Judge one file; what cannot be read or parsed becomes a problem of the outcome."""
        outcome = self.outcome
        if not sources.mentions_ml_library(data):
            outcome.files += 1
            return
        try:
            settings = self._finder.for_file(file)
            source = sources.decode(data, shown)
            sources.refuse_unreadable(source, shown)
        except UserError as problem:
            outcome.problems.append(problem)
            return
        from convlint.program import ProjectIndex, SourceSyntaxError, extract_program

        if self._index is None:
            self._index = ProjectIndex()
        try:
            program = extract_program(
                source, shown, project_root=_project_root(file), index=self._index
            )
        except SourceSyntaxError as error:
            outcome.problems.append(
                UserError(
                    f"cannot parse: {error.message}",
                    path=shown,
                    line=error.line,
                    column=error.column,
                )
            )
            return
        except Exception as error:
            outcome.faults.append(_own_fault("reading the program", shown, error))
            return
        outcome.files += 1
        outcome.sources[shown] = source
        if self._facts_only:
            outcome.programs.append(program)
            return
        judged = set() if program.problems else {rule.slug for rule in settings.selection.rules}

        def fail(rule: Rule, error: Exception) -> None:
            judged.discard(rule.slug)
            outcome.faults.append(_own_fault(f"rule {rule.slug}", shown, error))

        for finding in run_rules(settings.selection.rules, program, on_failure=fail):
            self._keep(finding)
        self._judged[shown] = judged
        if all(entry.standalone for entry in program.entries):
            self._imported_alone.add(shown)

    def settle(self, *, whole_project: bool) -> None:
        """Let through what settings and comments allow, each fault once.

        ``whole_project`` says that the files around those checked were checked as well.
        """
        judged: dict[str, Collection[str]] = {
            shown: () if shown in self._imported_alone and not whole_project else slugs
            for shown, slugs in self._judged.items()
        }
        keep_wanted(self._found.values(), self._finder, self.outcome, judged=judged)

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


def _unused(
    suppressions: tuple[Suppression, ...],
    findings: list[Finding],
    path: str,
    rules: Iterable[Rule],
    judged: Collection[str],
) -> list[Finding]:
    unused = next((rule for rule in rules if rule.slug == UNUSED_SUPPRESSION), None)
    if unused is None or not suppressions:
        return []
    return list(
        unused_suppressions(
            suppressions,
            findings,
            path=path,
            unused=unused,
            catalogue=catalogue.all_rules(),
            judged=judged,
        )
    )


def _with_display_path(finding: Finding) -> Finding:
    """``finding`` with paths as ``check`` shows them; measured places are absolute."""

    def shown(location: Location) -> Location:
        path = sources.display_path(Path(location.path))
        return msgspec.structs.replace(location, path=path)

    return msgspec.structs.replace(
        finding,
        location=shown(finding.location),
        related=tuple(
            msgspec.structs.replace(related, location=shown(related.location))
            for related in finding.related
        ),
    )


def _take(
    findings: list[Finding],
    file: Path,
    settings: Settings,
    outcome: Outcome,
    severities: Mapping[tuple[str, Location], Severity] = MappingProxyType({}),
) -> None:
    silenced = settings.ignored_in(file)
    for finding in findings:
        if finding.slug in silenced:
            continue
        severity = severities.get((finding.slug, finding.location), finding.severity)
        visible = max(severity, finding.severity, key=lambda s: s.rank)
        if not settings.shows(finding.slug, visible):
            outcome.hidden += 1
            continue
        outcome.findings.append(finding)
        judged = finding.judgement
        refuted = judged is not None and judged.verdict is Verdict.REFUTED
        outcome.failing += not refuted and settings.fails(finding.severity)


def _own_fault(what: str, shown: str, error: Exception) -> UserError:
    return UserError(
        f"{what} failed with {type(error).__name__}: {error} (a fault of convlint, please report it)",
        path=shown,
    )


def _project_root(file: Path) -> Path:
    """The directory imports of the project are looked up from: the nearest with a project file."""
    absolute = Path(os.path.abspath(file))  # noqa: PTH100
    for parent in absolute.parents:
        if (parent / "pyproject.toml").exists() or (parent / ".git").exists():
            return parent
    return absolute.parent
