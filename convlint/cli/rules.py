"""``convlint rules``: list the catalogue."""

from __future__ import annotations

from pathlib import Path

import click

from convlint.cli.options import color_option


@click.command("rules", short_help="List the rules.")
@click.option(
    "--output-format",
    type=click.Choice(("text", "json")),
    default="text",
    show_default=True,
    help="text: a line for each; json: for programs.",
)
@color_option
def command(output_format: str) -> int:
    """List every rule: code, slug, severity, how it sees (static: from source by `check`;
    measured: from a short run by `probe`; tested: from source, and `audit` confirms or refutes it by
    another rule's measurement) and what it reports.

    Rules marked with a circle are off until selected. Rules the configuration of the current
    directory adds (`rules = [...]`) are among them.
    """
    from convlint.cli import EXIT_CLEAN
    from convlint.cli.streams import write_bytes, write_report
    from convlint.config import SettingsFinder
    from convlint.report.rules import catalogue_json, catalogue_lines

    catalogue = SettingsFinder().for_directory(Path.cwd()).every_rule
    if output_format == "json":
        write_bytes(catalogue_json(catalogue))
    else:
        write_report(catalogue_lines(catalogue))
    return EXIT_CLEAN
