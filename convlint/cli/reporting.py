"""How ``check`` tells what it found."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from convlint.cli.mistakes import usage_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from convlint.cli.fixing import Fixing
    from convlint.errors import UserError
    from convlint.outcome import Outcome
    from convlint.report.text import Line

FOR_PEOPLE = ("full", "concise", "grouped")


class Reporting(msgspec.Struct, frozen=True):
    """What the options of ``check_options.report_options`` ask for."""

    output_format: str
    output_file: Path | None
    statistics: bool
    quiet: bool
    verbose: bool

    @classmethod
    def taken_from(cls, options: dict[str, Any]) -> Reporting:
        """Read the options and take them out of ``options``."""
        file: str | None = options.pop("output_file")
        taken = cls(
            output_format=options.pop("output_format"),
            output_file=None if file is None else Path(file),
            statistics=options.pop("statistics"),
            quiet=options.pop("quiet"),
            verbose=options.pop("verbose"),
        )
        if taken.quiet and taken.verbose:
            raise usage_error("--quiet and --verbose exclude one another")
        if taken.statistics and taken.output_format not in (*FOR_PEOPLE, "json"):
            raise usage_error("--statistics goes with --output-format full or json")
        if taken.output_file is not None and not taken.output_file.parent.is_dir():
            raise usage_error(f"--output-file: no such directory: {taken.output_file.parent}")
        return taken

    @property
    def for_people(self) -> bool:
        """Whether the report is text that ends with a summary."""
        return self.output_format in FOR_PEOPLE

    def write(
        self,
        outcome: Outcome,
        problems: Sequence[UserError],
        fixing: Fixing,
        note: str | None = None,
        *,
        to_stderr: bool = False,
    ) -> None:
        """Write the report to the file, to standard output, or to standard error where that
        carries something else. ``note`` is said in the end to people.

        Raises:
            UserError: it cannot be written.
        """
        from convlint.cli.streams import write_report

        if self.for_people:
            lines = self._lines(outcome, fixing, note)
            if self.output_file is None:
                write_report(lines, to_stderr=to_stderr)
            else:
                text = io.StringIO()
                text.writelines("".join(piece for piece, _ in line) + "\n" for line in lines)
                self._write_file(text.getvalue().encode(errors="backslashreplace"))
            return
        if self.statistics:
            from convlint.report.statistics import statistics_json

            data = statistics_json(outcome.findings, unsafe_fixes=fixing.unsafe)
        else:
            from convlint.report.formats import Report, render

            report = Report(outcome.findings, problems, outcome.sources)
            data = render(self.output_format, report)
        self.write_data(data, to_stderr=to_stderr)

    def write_data(self, data: bytes, *, to_stderr: bool = False) -> None:
        """Write a finished report to the file, or to standard output.

        Raises:
            UserError: it cannot be written.
        """
        from convlint.cli.streams import write_bytes

        if self.output_file is None:
            write_bytes(data, to_stderr=to_stderr)
        else:
            self._write_file(data)

    def _write_file(self, data: bytes) -> None:
        from convlint.errors import UserError

        assert self.output_file is not None
        try:
            self.output_file.write_bytes(data)
        except OSError as error:
            raise UserError(
                f"cannot write the output: {error.strerror or error}", path=str(self.output_file)
            ) from None

    def _lines(self, outcome: Outcome, fixing: Fixing, note: str | None) -> Iterator[Line]:
        from convlint.cli.fixing import summary_of_fixes
        from convlint.report import text

        findings, unsafe = outcome.findings, fixing.unsafe
        if self.statistics:
            from convlint.report.statistics import statistics

            yield from statistics(findings, unsafe_fixes=unsafe)
        elif self.output_format == "concise":
            yield from text.concise(findings, unsafe_fixes=unsafe)
        elif self.output_format == "grouped":
            from convlint.report.grouped import grouped

            yield from grouped(findings, unsafe_fixes=unsafe)
        else:
            yield from text.full(findings, outcome.sources, unsafe_fixes=unsafe)
        if self.quiet:
            return
        yield from text.summary(
            findings,
            files=outcome.files,
            unread=len(outcome.problems),
            hidden=outcome.hidden,
            fixed=len(fixing.fixed),
        )
        fixable = summary_of_fixes(fixing, findings)
        if fixable is not None:
            yield ((fixable, ""),)
        if note is not None:
            yield ((note, ""),)
