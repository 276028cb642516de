"""Runs the rules over source: files in, findings out.

A file that cannot be read or parsed, and a rule that fails, become a line for the user; the other
files and rules go on.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from convlint import sources
from convlint.config import Overrides, Settings, SettingsFinder
from convlint.errors import UserError
from convlint.findings import Confidence, Finding, Location, Severity, Verdict
from convlint.selection import RuleChoice
from convlint.suppressions import find_suppressions, without_suppressed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from convlint.gpu_probes.observations import Observations
    from convlint.program.facts import TrainingProgram
    from convlint.rules import Rule

STDIN = "-"
STDIN_NAME = "<stdin>"

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
    outcome = Outcome()
    finder = SettingsFinder(overrides)
    named = [os.fspath(path) for path in paths]
    for name in filter(None, named):
        finder.for_directory(Path(name) if Path(name).is_dir() else Path(name).parent)
    if STDIN in named:
        _check_bytes(stdin or b"", Path(stdin_name), stdin_name, finder, outcome, facts_only)
    files = sources.find_files(
        (name for name in named if name != STDIN),
        excluded=lambda path: finder.for_file(path).excludes(path),
        on_problem=outcome.problems.append,
    )
    for file in files:
        try:
            data = sources.read_file(file)
        except UserError as problem:
            outcome.problems.append(problem)
            continue
        _check_bytes(data, file, sources.display_path(file), finder, outcome, facts_only)
    outcome.findings.sort(key=lambda finding: finding.sort_key)
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
    findings = run_rules(rules, program, min_confidence=min_confidence)
    return without_suppressed(findings, find_suppressions(source))


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
) -> None:
    """Add to ``outcome`` the findings of any files that settings and comments let through.

    For findings that do not come from ``check_paths`` (measured or joined ones). Text of the
    files is read when ``outcome.sources`` lacks it. A measurement that refutes a finding lowers
    it to info; it stays visible when the source alone would have shown it: ``shown_by_source``
    has the findings as they were.
    """
    severities = {(f.slug, f.location): f.severity for f in shown_by_source}
    by_file: dict[str, list[Finding]] = {}
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
        kept = [
            finding
            for finding in group
            if finding.slug in rules and finding.confidence.rank >= settings.min_confidence.rank
        ]
        kept = without_suppressed(kept, find_suppressions(source))
        _take(kept, Path(shown), settings, outcome, severities)
    outcome.findings.sort(key=lambda finding: finding.sort_key)


def _check_bytes(
    data: bytes,
    file: Path,
    shown: str,
    finder: SettingsFinder,
    outcome: Outcome,
    facts_only: bool,
) -> None:
    if not sources.mentions_ml_library(data):
        outcome.files += 1
        return
    try:
        settings = finder.for_file(file)
        source = sources.decode(data, shown)
        sources.refuse_deep_nesting(source, shown)
    except UserError as problem:
        outcome.problems.append(problem)
        return
    from convlint.program import SourceSyntaxError, extract_program

    try:
        program = extract_program(source, shown, project_root=_project_root(file))
    except SourceSyntaxError as error:
        outcome.problems.append(
            UserError(
                f"cannot parse: {error.message}", path=shown, line=error.line, column=error.column
            )
        )
        return
    except Exception as error:
        outcome.faults.append(_own_fault("reading the program", shown, error))
        return
    outcome.files += 1
    outcome.sources[shown] = source
    if facts_only:
        outcome.programs.append(program)
        return
    findings = run_rules(
        settings.selection.rules,
        program,
        min_confidence=settings.min_confidence,
        on_failure=lambda rule, error: outcome.faults.append(
            _own_fault(f"rule {rule.slug}", shown, error)
        ),
    )
    _take(without_suppressed(findings, find_suppressions(source)), file, settings, outcome)


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
