"""Options of ``check`` that decide how the work is done, not what comes of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convlint.cli.options import Command, applied
from convlint.cli.sections import option

if TYPE_CHECKING:
    from collections.abc import Callable

SPEED = "Speed"

CACHE_DIRECTORY = "CONVLINT_CACHE_DIR"


def cache_directory_option(command: Command) -> Command:
    """--cache-dir, shared with ``clean``."""
    decorated: Command = option(
        "--cache-dir",
        section=SPEED,
        type=click.Path(path_type=Path, file_okay=False),
        envvar=CACHE_DIRECTORY,
        metavar="DIR",
        help="Where results are kept between runs."
        "  [default: .convlint_cache beside the project's configuration]",
    )(command)
    return decorated


def speed_options(command: Command) -> Command:
    """--cache-dir, --no-cache, --jobs."""
    return applied(
        (
            cache_directory_option,
            option(
                "--no-cache",
                section=SPEED,
                is_flag=True,
                help="Neither use nor keep results of other runs.",
            ),
            option(
                "-j",
                "--jobs",
                section=SPEED,
                type=click.IntRange(min=1),
                metavar="N",
                help="Processes that share the work when many files have changed."
                "  [default: one for each processor]",
            ),
        ),
        command,
    )


def taken_speed(options: dict[str, Any], *, verbose: bool) -> dict[str, Any]:
    """What the options say, as ``check_paths`` takes it; they are taken out of ``options``."""
    from convlint.cli.streams import complain
    from convlint.report_store import cache_directory

    directory: Path | None = options.pop("cache_dir")
    no_cache: bool = options.pop("no_cache")
    jobs: int | None = options.pop("jobs")
    on_note: Callable[[str], None] = complain if verbose else lambda note: None
    return {
        "cache": None if no_cache else cache_directory(directory),
        "jobs": jobs or _processors(),
        "on_note": on_note,
    }


def _processors() -> int:
    """Those this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1
