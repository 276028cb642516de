"""How the work of ``check`` is done, whatever comes of it: the cache and the processes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


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
