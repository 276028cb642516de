"""Judges one file by every rule: bytes in, a report out that knows nothing of settings.

Settings, comments and severities are applied to reports later, so that a report can be kept and
read again under another configuration.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from convlint import sources
from convlint.custom_rules import OURS, origin
from convlint.dependencies import UNKNOWN, Dependencies, Record, Signature
from convlint.errors import UserError
from convlint.findings import Confidence, Finding, Severity
from convlint.suppressions import Suppression, find_suppressions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from convlint.curves.facts import Curves
    from convlint.gpu_probes.observations import Observations
    from convlint.outcome import Outcome
    from convlint.program.facts import TrainingProgram
    from convlint.recording import RecordingIndex
    from convlint.rules import Rule

_ONE_LEVEL_DOWN = {Severity.ERROR: Severity.WARNING, Severity.WARNING: Severity.INFO}


class Complaint(msgspec.Struct, frozen=True, array_like=True):
    """Something said about a file that is no finding; ``rule`` is the slug of a rule that failed."""

    message: str
    line: int | None = None
    column: int | None = None
    rule: str = ""
    path: str = ""
    """When it is not that of the file alone: a notebook with its cell."""

    def error(self, path: str) -> UserError:
        """As it is told to the user."""
        return UserError(self.message, path=self.path or path, line=self.line, column=self.column)


class FileReport(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """All that every rule has to say of one file, and what must be known to choose from it."""

    findings: tuple[Finding, ...] = ()
    suppressions: tuple[Suppression, ...] = ()
    problem: Complaint | None = None
    """Why the file could not be read or parsed."""
    faults: tuple[Complaint, ...] = ()
    """What convlint failed at."""
    complete: bool = False
    """Whether the whole file was followed, so that a comment that silences nothing is known to."""
    standalone: bool = True
    """Whether the file runs nothing itself: other files may put its functions to a use that makes
    a comment necessary."""
    dependencies: Dependencies = Dependencies()
    """What beside the file the report rests on."""


NOTHING_TO_SAY = FileReport()
"""Of a file that mentions no machine-learning library."""


class JudgedFile(NamedTuple):
    """A report, and what the file was when it was read; without a digest it is not to be kept."""

    report: FileReport
    signature: Signature = UNKNOWN
    digest: bytes = b""


def judge_source(
    data: bytes,
    shown: str,
    *,
    project_root: Path,
    index: RecordingIndex,
    rules: Iterable[Rule],
) -> FileReport:
    """Judge the file that holds ``data`` and goes by the path ``shown``. Never raises."""
    from convlint.program import SourceSyntaxError, extract_program

    index.record = Record()
    try:
        source, program = extract_facts(data, shown, project_root=project_root, index=index)
    except UserError as problem:
        place = problem.path if problem.path != shown else ""
        return FileReport(
            problem=Complaint(problem.message, problem.line, problem.column, path=place)
        )
    except Exception as error:
        return FileReport(faults=(Complaint(own_fault("reading the program", error)),))
    faults: list[Complaint] = []

    def fail(rule: Rule, error: Exception) -> None:
        faults.append(Complaint(rule_fault(rule, error), rule=rule.slug))

    findings = run_rules(rules, program, on_failure=fail)
    if shown.endswith(sources.NOTEBOOK_SUFFIX):
        from convlint.cells import settled_in_cells

        def judge_again(text: str) -> list[Finding]:
            try:
                again = extract_program(text, shown, project_root=project_root, index=index)
            except SourceSyntaxError:
                # What is left of the other cells is no program: nothing is sure then.
                return []
            except Exception as error:
                faults.append(Complaint(own_fault("reading the program", error)))
                return []
            return run_rules(rules, again, on_failure=lambda rule, error: None)

        findings = settled_in_cells(findings, source, shown, judge_again)
    return FileReport(
        findings=tuple(findings),
        suppressions=find_suppressions(source),
        faults=tuple(faults),
        complete=not program.problems,
        standalone=all(entry.standalone for entry in program.entries),
        dependencies=index.record.dependencies(project_root),
    )


def extract_facts(
    data: bytes, shown: str, *, project_root: Path, index: RecordingIndex
) -> tuple[str, TrainingProgram]:
    """The text of a file and its facts.

    Raises:
        UserError: it cannot be decoded or parsed.
    """
    from convlint.program import SourceSyntaxError, extract_program

    source = sources.decode(data, shown)
    if shown.endswith(sources.NOTEBOOK_SUFFIX):
        from convlint.notebooks import Notebook

        Notebook(data, shown).refuse_unparsable()
    sources.refuse_unreadable(source, shown)
    try:
        return source, extract_program(source, shown, project_root=project_root, index=index)
    except SourceSyntaxError as error:
        raise UserError(
            f"cannot parse: {error.message}", path=shown, line=error.line, column=error.column
        ) from None


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
            outcome.faults.append(UserError(rule_fault(rule, error), path=seen.script))
    return sorted(findings, key=lambda finding: finding.sort_key)


def run_logged_rules(rules: Iterable[Rule], curves: Curves, outcome: Outcome) -> list[Finding]:
    """Judge a training log. A rule that raises becomes a fault of ``outcome``."""
    findings: list[Finding] = []
    for rule in rules:
        if not rule.has_logged():
            continue
        try:
            findings += rule.logged(curves)
        except Exception as error:
            outcome.failed_rules.add(rule.slug)
            outcome.faults.append(UserError(rule_fault(rule, error), path=curves.path))
    return sorted(findings, key=lambda finding: finding.sort_key)


def rule_fault(rule: Rule, error: Exception) -> str:
    """The line for a rule that failed, with its file when it is not our own."""
    where = origin(rule)
    if where == OURS:
        return own_fault(f"rule {rule.slug}", error)
    return f"rule {rule.slug} ({where}) failed with {type(error).__name__}: {error}"


def own_fault(what: str, error: Exception) -> str:
    """The line for a failure of convlint itself."""
    return f"{what} failed with {type(error).__name__}: {error} (a fault of convlint, please report it)"
