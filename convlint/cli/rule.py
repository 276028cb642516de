"""``convlint rule``: explain one rule."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from convlint.cli.options import color_option

if TYPE_CHECKING:
    from convlint.rules import Rule


def _names(_: click.Context, __: click.Parameter, begun: str) -> list[str]:
    """Slugs that go on as ``begun``, for completion in a shell."""
    from convlint.catalogue import rule_cards

    return [card.slug for card in rule_cards() if card.slug.startswith(begun)]


@click.command("rule", short_help="Explain a rule: what it sees, why it hurts, what to do.")
@click.argument("name", required=False, metavar="SLUG|CODE", shell_complete=_names)
@click.option("--all", "every", is_flag=True, help="Explain every rule.")
@click.option(
    "--output-format",
    type=click.Choice(("text", "json")),
    default="text",
    show_default=True,
    help="text: Markdown, rendered on a terminal; json: for programs.",
)
@color_option
def command(name: str | None, every: bool, output_format: str) -> int:
    """Explain a rule, named by its slug or its code.

    \b
    Examples:
      convlint rule zero-grad-missing
      convlint rule LOP001
      convlint rule --all --output-format json
    """
    from convlint.cli import EXIT_CLEAN
    from convlint.cli.streams import until_closed, write_bytes
    from convlint.report.rules import catalogue_json, explanation, rule_json
    from convlint.report.text import shows_colour

    if every == (name is not None):
        raise click.UsageError("name one rule, or give --all")
    rules = _every_rule() if name is None else (_rule(name),)
    if output_format == "json":
        write_bytes(catalogue_json(rules) if every else rule_json(rules[0]))
    elif shows_colour(sys.stdout):
        from rich.console import Console
        from rich.markdown import Markdown

        document = Markdown("\n".join(explanation(rule, fenced=True) for rule in rules))
        until_closed(lambda: Console(file=sys.stdout, force_terminal=True).print(document))
    else:
        write_bytes("\n".join(map(explanation, rules)).encode())
    return EXIT_CLEAN


def _rule(name: str) -> Rule:
    from convlint.config import SettingsFinder
    from convlint.rules import find_rule
    from convlint.selection import rules_matching

    rule = find_rule(name)
    if rule is None:
        # Only now look at rules of the project: reading them runs their code.
        catalogue = SettingsFinder().for_directory(Path.cwd()).catalogue
        rule = find_rule(name)
    if rule is None:
        matching = rules_matching(name, catalogue=catalogue)
        names = ", ".join(match.slug for match in matching)
        raise click.UsageError(f"{name} stands for {len(matching)} rules: {names}")
    return rule


def _every_rule() -> tuple[Rule, ...]:
    from convlint.config import SettingsFinder

    return SettingsFinder().for_directory(Path.cwd()).every_rule
