"""``convlint check``: judge source without running it."""

from __future__ import annotations

from typing import Any

import click

from convlint.cli.check_options import (
    accept_options,
    fix_options,
    report_options,
    speed_options,
)
from convlint.cli.options import (
    EXIT_CODE,
    FILES,
    OUTPUT,
    file_options,
    selection_options,
)
from convlint.cli.sections import SectionedCommand, option


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
def command(**options: Any) -> int:
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
    from convlint.cli.checking import run_check

    return run_check(**options)
