"""How ``check`` changes files: what is asked for, the dialogue, and what is written."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from convlint.cli.mistakes import usage_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from convlint.documents import Document
    from convlint.errors import UserError
    from convlint.findings import Finding
    from convlint.fixes import FixRun
    from convlint.outcome import Outcome


class Fixing(msgspec.Struct):
    """What the options ask for, and afterwards what came of it."""

    fix: bool
    unsafe: bool
    only: bool
    diff: bool
    interactive: bool
    exit_non_zero: bool
    fixed: list[Finding] = []
    failures: list[UserError] = []
    """Files that could not be written."""
    notes: list[UserError] = []
    changed: bool = False

    @classmethod
    def taken_from(cls, options: dict[str, Any]) -> Fixing:
        """Read the options of ``check_options.fix_options`` and take them out of ``options``."""
        taken = cls(
            fix=options.pop("fix"),
            unsafe=options.pop("unsafe_fixes"),
            only=options.pop("fix_only"),
            diff=options.pop("diff"),
            interactive=options.pop("interactive"),
            exit_non_zero=options.pop("exit_non_zero_on_fix"),
        )
        if taken.diff and taken.interactive:
            raise usage_error("--diff and --interactive exclude one another")
        taken.unsafe = taken.unsafe or taken.interactive
        return taken

    @property
    def asked_for(self) -> bool:
        """Whether anything is to be fixed at all."""
        return self.fix or self.only or self.diff or self.interactive

    @property
    def silent_about_rest(self) -> bool:
        """Whether what is left is not reported."""
        return self.only or self.diff

    def run(
        self,
        check: Callable[[Mapping[str, bytes]], Outcome],
        stdin_name: str | None,
        stdin: bytes,
    ) -> Outcome:
        """Check, fix, and write or show the result; the outcome is that of the fixed source.

        ``stdin_name`` is how findings name what was read from standard input, if anything was:
        its fixed source goes to standard output.
        """
        from convlint.documents import open_document
        from convlint.fixes import fix_until_settled
        from convlint.sources import read_file

        def opened(path: str) -> Document:
            return open_document(path, stdin if path == stdin_name else read_file(Path(path)))

        run = fix_until_settled(
            check,
            opened,
            unsafe=self.unsafe,
            wanted=_Dialogue() if self.interactive else None,
        )
        self.fixed = run.fixed
        self.notes = run.notes
        self.changed = bool(run.changes)
        if self.diff:
            _print_diff(run)
        else:
            self._write(run, stdin_name, stdin)
        return run.outcome

    def _write(self, run: FixRun, stdin_name: str | None, stdin: bytes) -> None:
        from convlint.cli.streams import write_bytes
        from convlint.documents import write_back
        from convlint.errors import UserError

        for path, text in sorted(run.changes.items()):
            document = run.documents[path]
            if path == stdin_name:
                continue
            try:
                write_back(path, document.data, document.encode(text))
            except UserError as problem:
                self.failures.append(problem)
        if stdin_name is not None:
            changed = stdin_name in run.changes
            text = run.changes.get(stdin_name, "")
            write_bytes(run.documents[stdin_name].encode(text) if changed else stdin)


class _Dialogue:
    """Asks about one fix after the other; ``a`` and ``q`` answer for all that follow."""

    def __init__(self) -> None:
        self._answer_for_all: bool | None = None

    def __call__(self, finding: Finding, views: Mapping[str, tuple[str, str]]) -> bool:
        if self._answer_for_all is not None:
            return self._answer_for_all
        import click

        from convlint.report import diff, text

        sources = {path: before for path, (before, _) in views.items()}
        text.write_lines(text.full([finding], sources), sys.stderr)
        for path, (before, after) in views.items():
            text.write_lines(diff.styled(diff.unified(path, before, after)), sys.stderr)
        try:
            answer = click.prompt(
                "Make this change? [y]es, [n]o, [a]ll, [q]uit",
                type=click.Choice(("y", "n", "a", "q"), case_sensitive=False),
                show_choices=False,
                err=True,
            )
        except click.Abort:
            answer = "q"
        if answer in ("a", "q"):
            self._answer_for_all = answer == "a"
        return answer in ("y", "a")


def _print_diff(run: FixRun) -> None:
    from convlint.cli.streams import write_report
    from convlint.report import diff

    for path, text in sorted(run.changes.items()):
        write_report(diff.styled(diff.unified(path, run.documents[path].text, text)))


def summary_of_fixes(fixing: Fixing, findings: Iterable[Finding]) -> str | None:
    """Ruff's last line: what could be fixed, was, or would be; None when there is nothing to say."""
    from convlint.fixes import is_fixable

    ours = [finding for finding in findings if finding.fix is not None]
    open_to_us = sum(is_fixable(finding, unsafe=fixing.unsafe) for finding in ours)
    hidden = len(ours) - open_to_us
    more = f"{hidden} hidden {'fix' if hidden == 1 else 'fixes'} can be enabled with --unsafe-fixes"
    if fixing.silent_about_rest:
        count = f"{len(fixing.fixed)} problem" + ("" if len(fixing.fixed) == 1 else "s")
        says = f"{'Would fix' if fixing.diff else 'Fixed'} {count}"
        if not fixing.fixed:
            says = "No changes" if not hidden else "No fixes available"
        return f"{says} ({more})." if hidden else f"{says}."
    if fixing.asked_for:
        return f"No fixes available ({more})." if hidden else None
    if open_to_us:
        return f"[*] {open_to_us} fixable with --fix" + (f" ({more})." if hidden else ".")
    return f"No fixes available ({more})." if hidden else None
