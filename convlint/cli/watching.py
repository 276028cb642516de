"""``check --watch``: check again whenever a file changes."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from convlint.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from convlint.settings import Overrides

PAUSE = 0.3
"""Seconds between two looks at the files: no longer than an editor takes to come back, and long
enough to cost nothing."""


def watch(paths: tuple[str, ...], overrides: Overrides, run: Callable[[], int]) -> int:
    """Run, and run again after each change of a file or configuration, until interrupted.

    Returns what the last run did: to stop watching is no failure.
    """
    from convlint.cli.streams import complain

    code = 0
    try:
        while True:
            before = _snapshot(paths, overrides)
            if sys.stdout.isatty():
                print("\033[2J\033[H", end="")  # noqa: T201
            try:
                code = run()
            except UserError as problem:
                complain(str(problem))
                code = 2
            complain("watching for changes; Ctrl-C stops")
            while _settled(paths, overrides, before):
                time.sleep(PAUSE)
    except KeyboardInterrupt:
        if sys.stderr.isatty():
            print(file=sys.stderr)  # noqa: T201
        return code


def _settled(
    paths: tuple[str, ...], overrides: Overrides, before: dict[str, tuple[int, int]]
) -> bool:
    """Whether nothing has changed; after a change, waits until it is over."""
    now = _snapshot(paths, overrides)
    if now == before:
        return True
    while True:
        time.sleep(PAUSE / 3)
        later = _snapshot(paths, overrides)
        if later == now:
            return False
        now = later


def _snapshot(paths: tuple[str, ...], overrides: Overrides) -> dict[str, tuple[int, int]]:
    """The time and size of every file that would be checked, and of the configurations."""
    from convlint.config import SettingsFinder
    from convlint.configuration import FILE_NAMES
    from convlint.discovery import find_files

    seen: dict[str, tuple[int, int]] = {}

    def look(file: str) -> None:
        try:
            status = os.stat(file)  # noqa: PTH116
        except OSError:
            return
        seen[file] = (status.st_mtime_ns, status.st_size)

    finder = SettingsFinder(overrides)
    folders = {os.path.abspath(path) for path in paths}  # noqa: PTH100
    try:
        for found in find_files(
            paths, exclusion_of=finder.for_directory, on_problem=lambda problem: None
        ):
            look(found.path)
            folders.add(os.path.dirname(os.path.abspath(found.path)))  # noqa: PTH100, PTH120
    except UserError:
        pass  # said when it runs; a change of the configuration may put it right
    for folder in folders:
        for parent in (Path(folder), *Path(folder).parents):
            for name in FILE_NAMES:
                look(str(parent / name))
    return seen
