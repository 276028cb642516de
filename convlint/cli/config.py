"""``convlint config``: which settings hold for a path, and where each was said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from convlint.cli.options import (
    OUTPUT,
    color_option,
    file_options,
    selection_options,
)
from convlint.cli.overrides import take_overrides
from convlint.cli.sections import SectionedCommand, option


@click.command(
    "config", cls=SectionedCommand, short_help="Show which settings hold and where they come from."
)
@click.argument("path", default=".", metavar="[PATH]")
@selection_options
@file_options
@option(
    "--output-format",
    section=OUTPUT,
    type=click.Choice(("text", "json")),
    default="text",
    show_default=True,
    help="text: TOML with the origin of each value behind it; json: for programs.",
)
@color_option
def command(path: str, output_format: str, **options: Any) -> int:
    """Show the settings that hold for PATH (default: the current directory), and where each was
    said: a file, the command line, or by default.

    \b
    Examples:
      convlint config
      convlint config src/train.py --output-format json
      convlint config --config 'fail-on = "error"'
    """
    from convlint.cli import EXIT_CLEAN
    from convlint.cli.streams import write_bytes, write_report
    from convlint.config import SettingsFinder
    from convlint.errors import UserError
    from convlint.report.settings import settings_json, settings_lines

    asked = Path(path)
    if not asked.exists():
        raise UserError("no such file or directory", path=path)
    finder = SettingsFinder(take_overrides(options))
    settings = finder.for_directory(asked) if asked.is_dir() else finder.for_file(asked)
    if output_format == "json":
        write_bytes(settings_json(settings, path))
    else:
        write_report(settings_lines(settings, path))
    return EXIT_CLEAN
