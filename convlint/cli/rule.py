"""``convlint rule``: explain one rule."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command("rule", short_help="Explain a rule: what it sees, why it hurts, what to do.")
@click.argument("name", metavar="SLUG|CODE")
def command(name: str) -> int:
    """Explain a rule, named by its slug or its code.

    \b
    Examples:
      convlint rule zero-grad-missing
      convlint rule LOP001
    """
    from convlint.cli import EXIT_CLEAN
    from convlint.cli.streams import until_closed, write_bytes
    from convlint.config import SettingsFinder
    from convlint.report.rules import explanation
    from convlint.report.text import shows_colour
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
    if shows_colour(sys.stdout):
        from rich.console import Console
        from rich.markdown import Markdown

        document = Markdown(explanation(rule, fenced=True))
        until_closed(lambda: Console(file=sys.stdout, force_terminal=True).print(document))
    else:
        write_bytes(explanation(rule).encode())
    return EXIT_CLEAN
