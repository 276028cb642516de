"""What ``convlint check`` does once its command line is read."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convlint.cli.accepting import Accepting, tell
from convlint.cli.caching import taken_speed
from convlint.cli.fixing import Fixing, summary_of_fixes
from convlint.cli.mistakes import usage_error
from convlint.cli.overrides import take_overrides
from convlint.cli.reporting import Reporting

if TYPE_CHECKING:
    from collections.abc import Mapping

    from convlint.engine import Outcome
    from convlint.errors import UserError
    from convlint.settings import Overrides


def run_check(
    paths: tuple[str, ...],
    stdin_filename: str | None,
    show_files: bool,
    show_facts: bool,
    watch: bool,
    exit_zero: bool,
    **options: Any,
) -> int:
    """Check as the options of the command say, by their names there; the exit code.

    Raises:
        UserError: options exclude one another, or the configuration has a mistake.
    """
    from convlint.cli import EXIT_CANNOT, EXIT_CLEAN, EXIT_FINDINGS
    from convlint.cli.streams import complain, failing_in_report, write_bytes
    from convlint.engine import STDIN, STDIN_NAME, check_paths
    from convlint.sources import display_path

    chosen = paths or (".",)
    reporting = Reporting.taken_from(options)
    if stdin_filename is not None and STDIN not in paths:
        raise usage_error("--stdin-filename goes with the path -")
    fixing = Fixing.taken_from(options)
    if fixing.asked_for and (show_facts or show_files):
        asked = "--show-facts" if show_facts else "--show-files"
        raise usage_error(f"{asked} runs no rule, so there is nothing to fix")
    if fixing.interactive and STDIN in paths:
        raise usage_error("--interactive asks on standard input, so - cannot be checked")
    if watch and (STDIN in paths or show_facts or show_files):
        raise usage_error("--watch goes with files and directories, and shows findings")
    speed = taken_speed(options, verbose=reporting.verbose)
    with failing_in_report(reporting.output_format):
        accepting = Accepting.taken_from(options, chosen)
        if accepting.asked_for and (fixing.asked_for or show_facts or show_files or watch):
            raise usage_error("findings are accepted, fixed or watched, one at a time")
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
