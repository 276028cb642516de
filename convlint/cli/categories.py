"""``convlint categories``: list the categories of rules."""

from __future__ import annotations

from pathlib import Path

import click

from convlint.cli.options import color_option


@click.command("categories", short_help="List the categories of rules.")
@click.option(
    "--output-format",
    type=click.Choice(("text", "json")),
    default="text",
    show_default=True,
    help="text: a line for each; json: for programs.",
)
@color_option
def command(output_format: str) -> int:
    """List the categories of rules, with the letters their codes begin with.

    Both select the rules of a category, and more letters or digits fewer of them.

    \b
    Examples:
      convlint categories
      convlint check --select loop,LOS train.py
    """
    from convlint.cli import EXIT_CLEAN
    from convlint.cli.streams import write_bytes, write_report
    from convlint.config import SettingsFinder
    from convlint.report.rules import categories, category_lines

    found = categories(SettingsFinder().for_directory(Path.cwd()).every_rule)
    if output_format == "json":
        import msgspec

        write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
    else:
        write_report(category_lines(found))
    return EXIT_CLEAN
