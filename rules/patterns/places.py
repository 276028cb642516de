"""From a place the probe saw to a location a finding can point at."""

from __future__ import annotations

import linecache
from pathlib import Path
from typing import TYPE_CHECKING

from convlint.findings import Location

if TYPE_CHECKING:
    from collections.abc import Iterable

    from convlint.gpu_probes.observations import Observations, Place

__all__ = ["first_place", "place_to_location", "shown_path"]


def place_to_location(place: Place | None, seen: Observations) -> Location:
    """The line of the user's code at ``place``; the first line of the script when there is none.

    The range covers the code of the line without its indentation. A file that cannot be read
    (a notebook cell, a generated file) gives an empty range at column 1.
    """
    path, line = (seen.script, 1) if place is None else (place.path, max(1, place.line))
    text = linecache.getline(path, line).rstrip()
    column = len(text) - len(text.lstrip()) + 1 if text else 1
    return Location(shown_path(path), line, column, line, max(column, len(text) + 1))


def shown_path(path: str) -> str:
    """``path`` relative to the current directory when it lies below it, else as it is."""
    try:
        return Path(path).resolve().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return path


def first_place(places: Iterable[Place | None]) -> Place | None:
    """The first place that is known."""
    return next((place for place in places if place is not None), None)
