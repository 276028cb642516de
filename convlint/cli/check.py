"""``convlint check``: judge source without running it."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convlint.cli.accepting import Accepting, accept_options, tell
from convlint.cli.caching import speed_options, taken_speed
from convlint.cli.fixing import Fixing, fix_options, summary_of_fixes
from convlint.cli.options import (
    EXIT_CODE,
    FILES,
    OUTPUT,
    file_options,
    selection_options,
    take_overrides,
)
from convlint.cli.reporting import Reporting, report_options
from convlint.cli.sections import SectionedCommand, option

if TYPE_CHECKING:
    from collections.abc import Mapping

    from convlint.config import Overrides
    from convlint.engine import Outcome
    from convlint.errors import UserError


@click.command("check", cls=SectionedCommand, short_help="Judge source files without running them.")
@click.argument("paths", nargs=-1, metavar="[PATHS]...")
@fix_options
@selection_options
@file_options
@option(
    "--stdin-filename",
    section=FILES,
    metavar="PATH",
    help="The name of what is read from standard input, for messages and configuration.",
)
@accept_options
@report_options
@option(
    "--show-files",
    section=OUTPUT,
    is_flag=True,
    help="Print the files that would be checked, and check none.",
)
@option(
    "--show-facts",
    section=OUTPUT,
    is_flag=True,
    help="Print what was understood of each file as JSON, and run no rule. A value that was "
    "resolved says under `origin` where it was written: an option's default, a field, a YAML, "
    "JSON or TOML file of the project, with its line.",
)
@speed_options
@option(
    "-w",
    "--watch",
    section=OUTPUT,
    is_flag=True,
    help="Check again whenever a file changes, until interrupted.",
)
@option(
    "--exit-zero",
    section=EXIT_CODE,
    is_flag=True,
    help="Exit with 0 even when something was found.",
)
def command(
    paths: tuple[str, ...],
    stdin_filename: str | None,
    show_files: bool,
    show_facts: bool,
    watch: bool,
    exit_zero: bool,
    **options: Any,
) -> int:
    """Judge training scripts by their source. Nothing is executed.

    PATHS are files and directories (default: the current directory); - reads standard input.
    Directories are searched for .py and .ipynb files, minus what .gitignore and `exclude` rule out. Files
    that mention no machine-learning library and start no training are skipped.

    \b
    Examples:
      convlint check
      convlint check train.py models/ --ignore adaptive-lr-high
      convlint check --select LOP --output-format concise src/
      git show HEAD:train.py | convlint check - --stdin-filename train.py
      convlint check --fix --unsafe-fixes train.py

    A fix is safe when it removes the fault and changes nothing else, unsafe otherwise. Files are
    written at the end, each as a whole; none is left half changed.

    Settings come from [tool.convlint] of the nearest pyproject.toml, or convlint.toml;
    `convlint config` shows what holds and from where.

    \b
    A comment on the line of a finding, or alone above it, silences it:
      # convlint: ignore[zero-grad-missing] the reason

    In a project with many findings, start from what is there and fail on what is new:
      convlint check --baseline convlint-baseline.json --update-baseline
      convlint check --baseline convlint-baseline.json

    \b
    Exit codes:
      0  nothing found at or above --fail-on
      1  something found; with --diff: something would be changed
      2  a file could not be read or parsed, or a rule failed (the rest is still checked);
         the options or the configuration have a mistake
    """
    from convlint.cli import EXIT_CANNOT, EXIT_CLEAN, EXIT_FINDINGS
    from convlint.cli.streams import complain, failing_in_report, write_bytes
    from convlint.engine import STDIN, STDIN_NAME, check_paths
    from convlint.sources import display_path

    chosen = paths or (".",)
    reporting = Reporting.taken_from(options)
    if stdin_filename is not None and STDIN not in paths:
        raise click.UsageError("--stdin-filename goes with the path -")
    fixing = Fixing.taken_from(options)
    if fixing.asked_for and (show_facts or show_files):
        asked = "--show-facts" if show_facts else "--show-files"
        raise click.UsageError(f"{asked} runs no rule, so there is nothing to fix")
    if fixing.interactive and STDIN in paths:
        raise click.UsageError("--interactive asks on standard input, so - cannot be checked")
    if watch and (STDIN in paths or show_facts or show_files):
        raise click.UsageError("--watch goes with files and directories, and shows findings")
    speed = taken_speed(options, verbose=reporting.verbose)
    with failing_in_report(reporting.output_format):
        accepting = Accepting.taken_from(options, chosen)
        if accepting.asked_for and (fixing.asked_for or show_facts or show_files or watch):
            raise click.UsageError("findings are accepted, fixed or watched, one at a time")
        overrides = take_overrides(options)
    if show_files:
        return _show_files(chosen, overrides)
    stdin = sys.stdin.buffer.read() if STDIN in paths else None

    def check(replaced: Mapping[str, bytes]) -> Outcome:
        outcome = check_paths(
            chosen,
            overrides,
            stdin=stdin,
            stdin_name=stdin_filename or STDIN_NAME,
            facts_only=show_facts,
            replaced=replaced,
            **speed,
        )
        return accepting.without_accepted(outcome, overrides)

    def run() -> int:
        begun = time.perf_counter()
        with failing_in_report(reporting.output_format):
            if fixing.asked_for:
                shown = display_path(Path(stdin_filename or STDIN_NAME))
                outcome = fixing.run(check, None if stdin is None else shown, stdin or b"")
            else:
                outcome = check({})
        problems = (*outcome.problems, *outcome.faults, *fixing.failures)
        for problem in (*problems, *fixing.notes):
            complain(str(problem))
        if not reporting.quiet and (outcome.files or not reporting.for_people):
            for directory in outcome.empty:
                complain(
                    f"{directory}: no Python files here, beside those excluded or ignored by Git"
                )
        if reporting.verbose:
            _say_what_was_read(outcome, overrides, chosen, time.perf_counter() - begun)
        if accepting.asked_for:
            tell(accepting.write_down(outcome))
            for failure in accepting.failures:
                complain(str(failure))
            return EXIT_CANNOT if problems or accepting.failures else EXIT_CLEAN
        if fixing.silent_about_rest:
            if not reporting.quiet:
                tell(summary_of_fixes(fixing, outcome.findings) or "")
            changed = fixing.changed and (fixing.diff or fixing.exit_non_zero)
            return EXIT_CANNOT if problems else EXIT_FINDINGS if changed else EXIT_CLEAN
        if show_facts:
            import msgspec

            for program in outcome.programs:
                write_bytes(msgspec.json.format(msgspec.json.encode(program), indent=2) + b"\n")
        else:
            source_on_stdout = fixing.asked_for and STDIN in paths
            note = accepting.summary()
            reporting.write(outcome, problems, fixing, note, to_stderr=source_on_stdout)
        if problems:
            return EXIT_CANNOT
        if fixing.changed and fixing.exit_non_zero:
            return EXIT_FINDINGS
        return EXIT_FINDINGS if outcome.failing and not exit_zero else EXIT_CLEAN

    if watch:
        from convlint.cli.watching import watch as watch_files

        return watch_files(chosen, overrides, run)
    return run()


def _say_what_was_read(
    outcome: Outcome, overrides: Overrides, paths: tuple[str, ...], seconds: float
) -> None:
    from convlint.cli.streams import complain
    from convlint.config import SettingsFinder

    finder = SettingsFinder(overrides)
    read: dict[str, None] = {}
    for path in (*paths, *sorted(outcome.checked)):
        read |= dict.fromkeys(finder.for_file(Path(path)).files)
        if Path(path).is_dir():
            read |= dict.fromkeys(finder.for_directory(Path(path)).files)
    for file in read:
        complain(f"settings from {file}")
    if not read:
        complain("no configuration file found or read")
    for path in sorted(outcome.checked):
        complain(f"checked {path}")
    complain(f"{len(outcome.checked)} files in {seconds:.2f} s")


def _show_files(paths: tuple[str, ...], overrides: Overrides) -> int:
    from convlint.cli import EXIT_CANNOT, EXIT_CLEAN
    from convlint.cli.streams import complain, write_bytes
    from convlint.config import SettingsFinder
    from convlint.discovery import find_files

    problems: list[UserError] = []
    found = find_files(
        (path for path in paths if path != "-"),
        exclusion_of=SettingsFinder(overrides).for_directory,
        on_problem=problems.append,
    )
    names = [file.shown for file in found]
    for problem in problems:
        complain(str(problem))
    write_bytes("".join(f"{name}\n" for name in names).encode(errors="surrogateescape"))
    return EXIT_CANNOT if problems else EXIT_CLEAN
