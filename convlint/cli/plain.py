"""Command lines of ``check`` that are read without click: paths, and options without a value.

Anything else, an option's environment variable included, is left to click. The values here are
the defaults click would give; a test holds them together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFAULTS: Mapping[str, Any] = {
    "add_ignore": None,
    "baseline": None,
    "cache_dir": None,
    "config": (),
    "diff": False,
    "exclude": (),
    "exit_non_zero_on_fix": False,
    "exit_zero": False,
    "extend_exclude": (),
    "extend_ignore": (),
    "extend_per_file_ignores": (),
    "extend_select": (),
    "fail_on": None,
    "fix": False,
    "fix_only": False,
    "force_exclude": None,
    "ignore": (),
    "interactive": False,
    "isolated": False,
    "jobs": None,
    "min_confidence": None,
    "no_cache": False,
    "output_file": None,
    "output_format": "full",
    "per_file_ignores": (),
    "quiet": False,
    "respect_gitignore": None,
    "select": (),
    "show_facts": False,
    "show_files": False,
    "show_info": False,
    "statistics": False,
    "stdin_filename": None,
    "unsafe_fixes": False,
    "update_baseline": False,
    "verbose": False,
    "watch": False,
}

FLAGS: Mapping[str, str] = {
    "--exit-zero": "exit_zero",
    "--force-exclude": "force_exclude",
    "--no-cache": "no_cache",
    "--quiet": "quiet",
    "-q": "quiet",
    "--show-info": "show_info",
}


def options_of(arguments: Sequence[str], environment: Mapping[str, str]) -> dict[str, Any] | None:
    """What ``check`` is asked for, by the names of its parameters; None leaves it to click."""
    if not arguments or arguments[0] != "check":
        return None
    if any(name.startswith(("CONVLINT_", "_CONVLINT_")) for name in environment):
        return None
    options = dict(DEFAULTS)
    paths = []
    for argument in arguments[1:]:
        if argument in FLAGS:
            options[FLAGS[argument]] = True
        elif argument.startswith("-") or not argument:
            return None
        else:
            paths.append(argument)
    return {"paths": tuple(paths), **options}


def check(options: dict[str, Any]) -> int:
    """Run ``check`` with these options; the exit code."""
    from convlint.cli.checking import run_check

    return run_check(**options)
