"""Options several commands share. Choices are spelled out so that ``--help`` imports nothing.

An option that a CI job sets for every call has an environment variable, ``CONVLINT_`` and its name.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeVar

import click

from convlint.cli.overrides import NEVER
from convlint.cli.sections import option

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Command = TypeVar("Command", bound="Callable[..., Any]")

SEVERITIES = ("error", "warning", "info")
CONFIDENCES = ("high", "medium", "low")
RUN_FORMATS = ("full", "concise", "json")
"""What ``probe`` and ``audit`` write."""
OUTPUT_FORMATS = (
    "full", "concise", "grouped", "json", "json-lines", "sarif", "github", "gitlab", "junit",
    "rdjson", "pylint", "azure",
)  # fmt: skip
"""What ``check`` writes; ``convlint.report`` has a file for each."""

RULES_METAVAR = "RULE,..."

RULES = "Rules"
FILES = "Files"
CONFIGURATION = "Configuration"
OUTPUT = "Output"
EXIT_CODE = "Exit code"


class OutputFormat(click.Choice[str]):
    """A choice of formats, in which ``text`` is another word for ``full``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The format's name."""
        return super().convert("full" if value == "text" else value, param, ctx)


def applied(options: Iterable[Callable[[Any], Any]], command: Command) -> Command:
    """``command`` with ``options``, which ``--help`` shows in this order."""
    for decorate in reversed(tuple(options)):
        command = decorate(command)
    return command


def selection_options(command: Command) -> Command:
    """Which rules run, what is shown of what they find, and where the configuration is."""
    return applied(
        (
            option(
                "--select",
                section=RULES,
                multiple=True,
                metavar=RULES_METAVAR,
                help="Run only these rules: slugs, codes, code prefixes (LOP), categories (loop)"
                " or ALL.",
            ),
            option(
                "--ignore",
                section=RULES,
                multiple=True,
                metavar=RULES_METAVAR,
                help="Leave these rules out.",
            ),
            option(
                "--extend-select",
                section=RULES,
                multiple=True,
                metavar=RULES_METAVAR,
                help="Run these rules beside the selected ones.",
            ),
            option(
                "--extend-ignore",
                section=RULES,
                multiple=True,
                metavar=RULES_METAVAR,
                help="The same as --ignore.",
            ),
            option(
                "--min-confidence",
                section=RULES,
                type=click.Choice(CONFIDENCES),
                envvar="CONVLINT_MIN_CONFIDENCE",
                help="Hide findings we are less sure of.  [default: medium]",
            ),
            option(
                "--show-info",
                section=RULES,
                is_flag=True,
                help="Also show findings of severity info. Rules given to --select show theirs"
                " anyway.",
            ),
            option(
                "--config",
                section=CONFIGURATION,
                multiple=True,
                metavar="FILE|'KEY = VALUE'",
                envvar="CONVLINT_CONFIG",
                help="Read this file instead of the nearest pyproject.toml or convlint.toml, or"
                " override one key of it in TOML: --config 'severity.LOP = \"info\"'.",
            ),
            option(
                "--isolated",
                section=CONFIGURATION,
                is_flag=True,
                envvar="CONVLINT_ISOLATED",
                help="Read no configuration file.",
            ),
            option(
                "--fail-on",
                section=EXIT_CODE,
                type=click.Choice((*SEVERITIES, NEVER)),
                envvar="CONVLINT_FAIL_ON",
                help="Exit with 1 when a finding is at least this severe.  [default: warning]",
            ),
        ),
        command,
    )


def output_format_option(command: Command) -> Command:
    """--output-format of ``probe`` and ``audit``."""
    return _output_format(
        RUN_FORMATS,
        "full: a block for each finding; concise: a line for each; json: for programs.",
        command,
    )


def report_format_option(command: Command) -> Command:
    """--output-format of ``check``."""
    return _output_format(
        OUTPUT_FORMATS,
        "full: a block for each finding; concise: a line for each; grouped: by file; the others"
        " are for programs and services (docs/formats.md).",
        command,
    )


def _output_format(formats: tuple[str, ...], help: str, command: Command) -> Command:
    return applied(
        (
            color_option,
            option(
                "--output-format",
                section=OUTPUT,
                type=OutputFormat(formats),
                envvar="CONVLINT_OUTPUT_FORMAT",
                default="full",
                show_default=True,
                help=help,
            ),
        ),
        command,
    )


def color_option(command: Command) -> Command:
    """--color, which holds wherever it stands on the command line."""
    return applied(
        (
            option(
                "--color",
                section=OUTPUT,
                type=click.Choice(("auto", "always", "never")),
                envvar="CONVLINT_COLOR",
                expose_value=False,
                callback=_set_color,
                help="Whether to colour. [default: auto: on a terminal, unless NO_COLOR is set; anywhere"
                " when FORCE_COLOR is]",
            ),
        ),
        command,
    )


def _set_color(_: click.Context, __: click.Parameter, value: str | None) -> None:
    """The environment is where every report, and rich, look for it."""
    wanted = {"always": "FORCE_COLOR", "never": "NO_COLOR"}
    if value in wanted:
        for name in wanted.values():
            os.environ.pop(name, None)
        os.environ[wanted[value]] = "1"


def file_options(command: Command) -> Command:
    """Which files a walk takes, and in which some rules stay silent."""
    return applied(
        (
            option(
                "--exclude",
                section=FILES,
                multiple=True,
                metavar="PATTERN,...",
                help="Leave out files and directories that match, instead of `exclude` of the"
                " configuration.",
            ),
            option(
                "--extend-exclude",
                section=FILES,
                multiple=True,
                metavar="PATTERN,...",
                help="Leave these out as well.",
            ),
            option(
                "--force-exclude/--no-force-exclude",
                section=FILES,
                default=None,
                help="Leave out excluded files even when they are named, as pre-commit does.",
            ),
            option(
                "--respect-gitignore/--no-respect-gitignore",
                section=FILES,
                default=None,
                help="Leave out what Git ignores.  [default: on]",
            ),
            option(
                "--per-file-ignores",
                section=RULES,
                multiple=True,
                metavar="PATTERN:RULE,...",
                help="Rules that stay silent in some files, instead of those of the configuration.",
            ),
            option(
                "--extend-per-file-ignores",
                section=RULES,
                multiple=True,
                metavar="PATTERN:RULE,...",
                help="The same, beside those of the configuration.",
            ),
        ),
        command,
    )
