"""Options several commands share. Choices are spelled out so that ``--help`` imports nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from convlint.config import Overrides

Command = TypeVar("Command", bound="Callable[..., Any]")

SEVERITIES = ("error", "warning", "info")
CONFIDENCES = ("high", "medium", "low")
OUTPUT_FORMATS = ("text", "concise", "json")

RULES_METAVAR = "RULE,..."


def selection_options(command: Command) -> Command:
    """--select, --extend-select, --ignore, --fail-on, --min-confidence, --show-info."""
    for option in (
        click.option(
            "--show-info",
            is_flag=True,
            help="Also show findings of severity info. Rules given to --select show theirs anyway.",
        ),
        click.option(
            "--min-confidence",
            type=click.Choice(CONFIDENCES),
            help="Hide findings we are less sure of.  [default: medium]",
        ),
        click.option(
            "--fail-on",
            type=click.Choice(SEVERITIES),
            help="Exit with 1 when a finding is at least this severe.  [default: warning]",
        ),
        click.option(
            "--ignore",
            multiple=True,
            metavar=RULES_METAVAR,
            help="Leave these rules out.",
        ),
        click.option(
            "--extend-select",
            multiple=True,
            metavar=RULES_METAVAR,
            help="Run these rules beside the selected ones.",
        ),
        click.option(
            "--select",
            multiple=True,
            metavar=RULES_METAVAR,
            help="Run only these rules: slugs, codes, code prefixes (LOP) or ALL.",
        ),
    ):
        command = option(command)
    return command


def output_format_option(command: Command) -> Command:
    """--output-format text|concise|json."""
    return click.option(
        "--output-format",
        type=click.Choice(OUTPUT_FORMATS),
        default="text",
        show_default=True,
        help="text: a block for each finding; concise: a line for each; json: for programs.",
    )(command)


def take_overrides(options: dict[str, Any]) -> Overrides:
    """What the selection options say; they are taken out of ``options``."""
    from convlint.config import Overrides
    from convlint.findings import Confidence, Severity
    from convlint.selection import RuleChoice

    select = split_names(options.pop("select"))
    fail_on: str | None = options.pop("fail_on")
    min_confidence: str | None = options.pop("min_confidence")
    return Overrides(
        rules=RuleChoice(
            select=select or None,
            extend_select=split_names(options.pop("extend_select")),
            ignore=split_names(options.pop("ignore")),
        ),
        fail_on=None if fail_on is None else Severity(fail_on),
        min_confidence=None if min_confidence is None else Confidence(min_confidence),
        show_info=options.pop("show_info"),
    )


def split_names(values: tuple[str, ...]) -> tuple[str, ...]:
    """``("a,b", "c")`` to ``("a", "b", "c")``."""
    return tuple(name.strip() for value in values for name in value.split(",") if name.strip())
