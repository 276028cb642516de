"""The options of ``check`` that say what is done with what it finds, and how."""

from __future__ import annotations

from pathlib import Path

import click

from convlint.cli.options import EXIT_CODE, OUTPUT, Command, applied, report_format_option
from convlint.cli.sections import option

FIXES = "Fixes"
SPEED = "Speed"
SUPPRESSIONS = "Suppressions"

CACHE_DIRECTORY = "CONVLINT_CACHE_DIR"


def fix_options(command: Command) -> Command:
    """--fix, --unsafe-fixes, --fix-only, --diff, --interactive, --exit-non-zero-on-fix."""
    return applied(
        (
            option(
                "--fix/--no-fix",
                section=FIXES,
                default=False,
                help="Fix what can be fixed, write the files, report the rest.",
            ),
            option(
                "--unsafe-fixes/--no-unsafe-fixes",
                section=FIXES,
                default=False,
                help="Also make fixes that change more than the fault: they need a look.",
            ),
            option(
                "--fix-only",
                section=FIXES,
                is_flag=True,
                help="Fix, and do not report what is left.",
            ),
            option(
                "--diff",
                section=FIXES,
                is_flag=True,
                help="Print what --fix-only would change instead of changing it; exit with 1 if"
                " anything.",
            ),
            option(
                "--interactive",
                section=FIXES,
                is_flag=True,
                help="Show each finding that has a fix with its diff, and ask; unsafe fixes too.",
            ),
            option(
                "--exit-non-zero-on-fix",
                section=EXIT_CODE,
                is_flag=True,
                help="Exit with 1 when anything was fixed, even if nothing is left.",
            ),
        ),
        command,
    )


def accept_options(command: Command) -> Command:
    """--add-ignore, --baseline, --update-baseline."""
    return applied(
        (
            option(
                "--add-ignore",
                section=SUPPRESSIONS,
                metavar="[=REASON]",
                may_stand_alone=True,
                help="Write a comment that silences it, with this reason, at every finding"
                " reported.",
            ),
            option(
                "--baseline",
                section=SUPPRESSIONS,
                metavar="FILE",
                envvar="CONVLINT_BASELINE",
                type=click.Path(dir_okay=False),
                help="Report only findings this file does not hold, and its entries that are gone.",
            ),
            option(
                "--update-baseline",
                section=SUPPRESSIONS,
                is_flag=True,
                help="Write what is found into the file of --baseline, new entries and no gone"
                " ones.",
            ),
        ),
        command,
    )


def report_options(command: Command) -> Command:
    """--output-format, --output-file, --statistics, --quiet, --verbose."""
    return applied(
        (
            report_format_option,
            option(
                "-o",
                "--output-file",
                section=OUTPUT,
                metavar="FILE",
                envvar="CONVLINT_OUTPUT_FILE",
                type=click.Path(dir_okay=False),
                help="Write the report into this file instead of standard output.",
            ),
            option(
                "--statistics",
                section=OUTPUT,
                is_flag=True,
                help="Show how often each rule spoke instead; with --output-format json, as JSON.",
            ),
            option(
                "-q",
                "--quiet",
                section=OUTPUT,
                is_flag=True,
                help="Print findings and nothing else.",
            ),
            option(
                "-v",
                "--verbose",
                section=OUTPUT,
                is_flag=True,
                help="Say on standard error which files and configurations were read, and why the cache is not used.",
            ),
        ),
        command,
    )


def cache_directory_option(command: Command) -> Command:
    """--cache-dir, shared with ``clean``."""
    decorated: Command = option(
        "--cache-dir",
        section=SPEED,
        type=click.Path(path_type=Path, file_okay=False),
        envvar=CACHE_DIRECTORY,
        metavar="DIR",
        help="Where results are kept between runs."
        "  [default: .convlint_cache beside the project's configuration]",
    )(command)
    return decorated


def keeping_options(command: Command) -> Command:
    """--cache-dir, --no-cache."""
    return applied(
        (
            cache_directory_option,
            option(
                "--no-cache",
                section=SPEED,
                is_flag=True,
                help="Neither use nor keep results of other runs.",
            ),
        ),
        command,
    )


def speed_options(command: Command) -> Command:
    """--cache-dir, --no-cache, --jobs."""
    return applied(
        (
            keeping_options,
            option(
                "-j",
                "--jobs",
                section=SPEED,
                type=click.IntRange(min=1),
                metavar="N",
                help="Processes that share the work when many files have changed."
                "  [default: one for each processor]",
            ),
        ),
        command,
    )
