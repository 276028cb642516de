"""What the options on rules and files say, as the configuration takes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from convlint.cli.mistakes import usage_error

if TYPE_CHECKING:
    from convlint.settings import Overrides

NEVER = "never"
"""The value of --fail-on under which nothing fails."""


def take_overrides(options: dict[str, Any]) -> Overrides:
    """What the options of ``options.selection_options`` and ``options.file_options`` say; they are taken out of
    ``options``."""
    from convlint.configuration import Configuration
    from convlint.findings import Confidence, Severity
    from convlint.selection import RuleChoice
    from convlint.settings import Overrides

    select = split_names(options.pop("select"))
    fail_on: str | None = options.pop("fail_on")
    min_confidence: str | None = options.pop("min_confidence")
    file, inline = _configurations(options.pop("config"))
    exclude = split_names(options.pop("exclude", ()))
    silenced = _per_file(options.pop("per_file_ignores", ()), "--per-file-ignores")
    more = Configuration(
        exclude=exclude or None,
        extend_exclude=split_names(options.pop("extend_exclude", ())),
        force_exclude=options.pop("force_exclude", None),
        respect_gitignore=options.pop("respect_gitignore", None),
        per_file_ignores=silenced or None,
        extend_per_file_ignores=_per_file(
            options.pop("extend_per_file_ignores", ()), "--extend-per-file-ignores"
        ),
    )
    return Overrides(
        rules=RuleChoice(
            select=select or None,
            extend_select=split_names(options.pop("extend_select")),
            ignore=split_names((*options.pop("ignore"), *options.pop("extend_ignore"))),
        ),
        fail_on=None if fail_on in (None, NEVER) else Severity(fail_on),
        never_fails=fail_on == NEVER,
        min_confidence=None if min_confidence is None else Confidence(min_confidence),
        show_info=options.pop("show_info"),
        more=more,
        inline=inline,
        file=file,
        isolated=options.pop("isolated"),
    )


def split_names(values: tuple[str, ...]) -> tuple[str, ...]:
    """``("a,b", "c")`` to ``("a", "b", "c")``."""
    return tuple(name.strip() for value in values for name in value.split(",") if name.strip())


def _configurations(values: tuple[str, ...]) -> tuple[Any, tuple[Any, ...]]:
    """The file among the values of --config, and the keys said in line."""
    from pathlib import Path

    from convlint.configuration import read_inline

    files = [value for value in values if "=" not in value or Path(value).is_file()]
    if len(files) > 1:
        raise usage_error(f"--config takes one file; given: {', '.join(files)}")
    inline = tuple(read_inline(value) for value in values if value not in files)
    return (Path(files[0]) if files else None), inline


def _per_file(values: tuple[str, ...], name: str) -> dict[str, tuple[str, ...]]:
    """``("tests/*:LOP,a.py:LOS",)`` as a table."""
    table: dict[str, tuple[str, ...]] = {}
    for entry in split_names(values):
        pattern, colon, rule = entry.rpartition(":")
        if not colon or not pattern or not rule:
            raise usage_error(f"{name} takes PATTERN:RULE, not {entry!r}")
        table[pattern] = (*table.get(pattern, ()), rule)
    return table
