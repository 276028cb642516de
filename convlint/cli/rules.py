"""``convlint rules``: list the catalogue."""

from __future__ import annotations

import click


@click.command("rules", short_help="List the rules.")
@click.option(
    "--output-format", type=click.Choice(("text", "json")), default="text", show_default=True
)
def command(output_format: str) -> int:
    """List every rule: code, slug, severity, how it sees (static: from source by `check`;
    measured: from a short run by `probe`; `audit` joins them) and what it reports.

    Rules marked with a circle are off until selected.
    """
    from convlint.cli import EXIT_CLEAN
    from convlint.cli.streams import write_bytes, write_report
    from convlint.report.rules import catalogue_json, catalogue_lines
    from convlint.rules import all_rules

    if output_format == "json":
        write_bytes(catalogue_json(all_rules()))
    else:
        write_report(catalogue_lines(all_rules()))
    return EXIT_CLEAN
