"""How ``check`` accepts findings as they are: comments and a baseline."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convlint.cli.mistakes import usage_error

if TYPE_CHECKING:
    from convlint.baseline import Baseline
    from convlint.errors import UserError
    from convlint.findings import Finding
    from convlint.outcome import Outcome
    from convlint.settings import Overrides


class Accepting:
    """What the options ask for, and afterwards what came of it."""

    def __init__(
        self, reason: str | None, baseline: Baseline | None, update: bool, paths: tuple[str, ...]
    ) -> None:
        self.reason = reason
        self.baseline = baseline
        self.update = update
        self.paths = paths
        self.accepted = 0
        self.gone = 0
        self.failures: list[UserError] = []

    @classmethod
    def taken_from(cls, options: dict[str, Any], paths: tuple[str, ...]) -> Accepting:
        """Read the options of ``check_options.accept_options`` and take them out of ``options``.

        Raises:
            UserError: the baseline cannot be read.
        """
        reason: str | None = options.pop("add_ignore")
        file: str | None = options.pop("baseline")
        update: bool = options.pop("update_baseline")
        if update and file is None:
            raise usage_error("--update-baseline goes with --baseline FILE")
        if reason is not None and "-" in paths:
            raise usage_error("--add-ignore changes files, so - cannot be checked")
        if reason is not None and update:
            raise usage_error("--add-ignore and --update-baseline exclude one another")
        baseline = None
        if file is not None:
            from convlint.baseline import Baseline

            baseline = Baseline.read(Path(file), missing_ok=update)
        return cls(reason, baseline, update, paths)

    @property
    def asked_for(self) -> bool:
        """Whether findings are written down instead of reported."""
        return self.update or self.reason is not None

    def without_accepted(self, outcome: Outcome, overrides: Overrides) -> Outcome:
        """``outcome`` without what the baseline holds."""
        if self.baseline is None or self.update:
            return outcome
        from convlint.config import SettingsFinder

        new, accepted = self.baseline.split(outcome.findings, outcome.sources)
        self.accepted = len(accepted)
        self.gone = len(self.baseline.gone(outcome.findings, outcome.sources, self.paths))
        finder = SettingsFinder(overrides)
        outcome.findings = new
        outcome.failing -= sum(
            finder.for_file(Path(finding.location.path)).fails(finding.severity)
            for finding in accepted
        )
        return outcome

    def write_down(self, outcome: Outcome) -> str:
        """Write comments, or the baseline; returns what was done in one sentence.

        Raises:
            UserError: the baseline cannot be written.
        """
        if self.reason is not None:
            return self._add_ignores(outcome, self.reason)
        assert self.baseline is not None
        gone = self.baseline.gone(outcome.findings, outcome.sources, self.paths)
        new, _ = self.baseline.split(outcome.findings, outcome.sources)
        updated = self.baseline.updated(outcome.findings, outcome.sources, self.paths)
        updated.write()
        return (
            f"{updated.file}: {_count(len(updated.entries), 'finding')}"
            f" ({len(new)} new, {len(gone)} gone)."
        )

    def summary(self) -> str | None:
        """What the baseline did; None without one."""
        if self.baseline is None or self.update:
            return None
        said = f"{_count(self.accepted, 'finding')} in the baseline"
        if self.gone:
            entries = "1 of its entries is" if self.gone == 1 else f"{self.gone} of its entries are"
            said += f"; {entries} gone, --update-baseline drops them"
        return said + "."

    def _add_ignores(self, outcome: Outcome, reason: str) -> str:
        from convlint.documents import open_document, write_back
        from convlint.errors import UserError
        from convlint.ignores import with_ignores
        from convlint.sources import read_file

        by_path: dict[str, list[Finding]] = {}
        for finding in outcome.findings:
            if finding.slug != "unused-suppression":
                by_path.setdefault(finding.location.path, []).append(finding)
        added = files = 0
        for path, findings in by_path.items():
            try:
                document = open_document(path, read_file(Path(path)))
                text = with_ignores(document.text, findings, reason)
                write_back(path, document.data, document.encode(text))
            except UserError as problem:
                self.failures.append(problem)
                continue
            added += len(findings)
            files += 1
        return f"Silenced {_count(added, 'finding')} by comments in {_count(files, 'file')}."


def tell(sentence: str) -> None:
    """Say on standard error what was done."""
    print(sentence, file=sys.stderr)  # noqa: T201


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
