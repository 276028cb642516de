"""The walk of ``audit --interactive``: each finding shown, fixed, silenced or left; then measured anew."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from convlint.cli.mistakes import usage_error
from convlint.cli.streams import complain, write_report
from convlint.report import diff, text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from convlint.cli.auditing import Audited
    from convlint.findings import Finding
    from convlint.outcome import Outcome

QUIT = "q"
APPLY, SKIP, IGNORE = "a", "s", "i"

Key = tuple[str, str, str]
"""A rule, a path and the source line: what a finding is known by when lines have moved."""


def require_terminal(output_format: str) -> None:
    """Raises a usage error where nobody can answer."""
    if output_format == "json":
        raise usage_error("--interactive and --output-format json exclude one another")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise usage_error("--interactive asks on a terminal, and this is none")


class Answers(msgspec.Struct):
    """What was chosen: findings to fix, and findings to silence with the reason."""

    fixed: list[Finding] = []
    ignored: list[tuple[Finding, str]] = []


def walk(audited: Audited) -> Answers:
    """Show every finding, the worst first, and ask what to do with it."""
    answers = Answers()
    findings = sorted(audited.outcome.findings, key=lambda f: (-f.severity.rank, f.sort_key))
    write_report(audited.lines("concise", quiet=True))
    for number, finding in enumerate(findings, start=1):
        click.echo(f"\nFinding {number} of {len(findings)}")
        write_report(text.full([finding], audited.outcome.sources))
        fixable = finding.fix is not None and _show_change(finding, audited.outcome.sources)
        answer = _ask(fixable)
        if answer == QUIT:
            break
        if answer == APPLY:
            answers.fixed.append(finding)
        elif answer == IGNORE:
            reason = click.prompt("Why is it fine here")
            answers.ignored.append((finding, " ".join(reason.split())))
    return answers


def make(answers: Answers, check: Callable[[Mapping[str, bytes]], Outcome]) -> int:
    """Write the comments, then the fixes, into the files; returns how many findings they settle.

    ``check`` judges the source, with new bytes for some files. A file that cannot be written, and
    a fix that cannot be made, is told in one line.
    """
    from convlint.documents import open_document, write_back
    from convlint.errors import UserError
    from convlint.fixes import fix_until_settled
    from convlint.sources import read_file

    wanted = Counter(_key(finding) for finding in answers.fixed)
    done = _silence(answers.ignored)

    def is_wanted(finding: Finding, _: Mapping[str, tuple[str, str]]) -> bool:
        key = _key(finding)
        wanted[key] -= 1
        return wanted[key] >= 0

    if not answers.fixed:
        return done
    run = fix_until_settled(
        check,
        lambda path: open_document(path, read_file(Path(path))),
        unsafe=True,
        wanted=is_wanted,
    )
    for note in run.notes:
        complain(str(note))
    for path, changed in sorted(run.changes.items()):
        document = run.documents[path]
        try:
            write_back(path, document.data, document.encode(changed))
        except UserError as problem:
            complain(str(problem))
            return done
    if len(run.fixed) < len(answers.fixed):
        complain(f"{len(answers.fixed) - len(run.fixed)} of the fixes could not be made")
    return done + len(run.fixed)


def tell_difference(before: Audited, after: Audited) -> None:
    """What became better and worse, beyond noise."""
    from convlint.cli.compare import difference_lines
    from convlint.comparison import compare
    from convlint.report.json import Output

    outputs = [msgspec.json.decode(one.as_json(), type=Output) for one in (before, after)]
    click.echo("\nBefore and after")
    write_report(difference_lines(compare(*outputs)))


def _silence(ignored: Sequence[tuple[Finding, str]]) -> int:
    """Add a comment for each, the last in a file first, so that the places of the others hold."""
    from convlint.documents import open_document, write_back
    from convlint.errors import UserError
    from convlint.ignores import with_ignores
    from convlint.sources import read_file

    done = 0
    for finding, reason in sorted(ignored, key=lambda entry: entry[0].sort_key, reverse=True):
        path = finding.location.path
        try:
            document = open_document(path, read_file(Path(path)))
            changed = with_ignores(document.text, [finding], reason)
            write_back(path, document.data, document.encode(changed))
        except UserError as problem:
            complain(str(problem))
            continue
        done += 1
    return done


def _show_change(finding: Finding, sources: Mapping[str, str]) -> bool:
    """Print what the fix would change; whether it can be made."""
    from convlint.fixes import MisplacedEditError, apply_edits

    assert finding.fix is not None
    paths = {edit.location.path for edit in finding.fix.edits}
    for path in sorted(paths):
        before = "\n".join(text.source_lines(sources.get(path), path))
        edits = [edit for edit in finding.fix.edits if edit.location.path == path]
        try:
            after = apply_edits(before, edits)
        except MisplacedEditError:
            return False
        write_report(diff.styled(diff.unified(path, before, after)))
    return bool(paths)


def _ask(fixable: bool) -> str:
    choices = [APPLY, SKIP, IGNORE, QUIT] if fixable else [SKIP, IGNORE, QUIT]
    words = {
        APPLY: "[a]pply the change",
        SKIP: "[s]kip",
        IGNORE: "[i]gnore it here",
        QUIT: "[q]uit",
    }
    answer: str = click.prompt(
        ", ".join(words[choice] for choice in choices),
        type=click.Choice(choices, case_sensitive=False),
        show_choices=False,
    )
    return answer


def _key(finding: Finding) -> Key:
    place = finding.location
    lines = text.source_lines(None, place.path)
    line = lines[place.line - 1] if 1 <= place.line <= len(lines) else ""
    return finding.slug, place.path, line.partition("#")[0].strip()


def measured_again(audited: Audited, settled: int) -> str:
    """What is about to be done, in one line."""
    return f"{text.count(settled, 'finding')} settled; measuring {audited.target.shown} again"
