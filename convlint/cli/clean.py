"""``convlint clean``: remove what runs have kept for later ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from convlint.cli.check_options import cache_directory_option
from convlint.cli.sections import SectionedCommand

if TYPE_CHECKING:
    from pathlib import Path


@click.command("clean", cls=SectionedCommand, short_help="Remove the cache.")
@cache_directory_option
def command(cache_dir: Path | None) -> int:
    """Remove the cache of the project around the current directory.

    The next `convlint check` reads every file again, the next `probe` or `audit` runs the script
    again. Nothing else is lost: results are kept only to save time, and those of files that have
    changed are never used.

    \b
    Examples:
      convlint clean
      convlint clean --cache-dir /var/tmp/convlint

    \b
    Exit codes:
      0  the cache is gone, or there was none
      2  it could not be removed
    """
    from convlint.cli import EXIT_CLEAN
    from convlint.report_store import cache_directory, remove

    directory = cache_directory(cache_dir)
    if remove(directory):
        click.echo(f"Removed {directory}")
    else:
        click.echo(f"No cache in {directory}")
    return EXIT_CLEAN
