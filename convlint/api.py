"""What ``import convlint`` offers to programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from convlint.findings import Finding


def check(
    *paths: str | os.PathLike[str],
    source: str | None = None,
    select: Iterable[str] | None = None,
    extend_select: Iterable[str] = (),
    ignore: Iterable[str] = (),
) -> list[Finding]:
    """Judge files and directories, or one ``source`` text, without running anything.

    Configuration files and suppression comments hold as for ``convlint check``. With ``source``,
    at most one path may be given: the name the text goes by.

    Returns the findings ``convlint check`` would show, in order of place.

    Raises:
        convlint.errors.UserError: a file cannot be read or parsed (the message of the first), or
            a rule name or the configuration has a mistake.
        ValueError: neither or both of several paths and ``source`` are given.
    """
    from convlint.engine import STDIN, STDIN_NAME, check_paths
    from convlint.selection import RuleChoice
    from convlint.settings import Overrides

    if source is None and not paths:
        raise ValueError("give paths or source=")
    if source is not None and len(paths) > 1:
        raise ValueError("source= goes with at most one path")
    choice = RuleChoice(
        select=None if select is None else tuple(select),
        extend_select=tuple(extend_select),
        ignore=tuple(ignore),
    )
    if source is None:
        outcome = check_paths(paths, Overrides(rules=choice))
    else:
        outcome = check_paths(
            (STDIN,),
            Overrides(rules=choice),
            stdin=source.encode(),
            stdin_name=str(paths[0]) if paths else STDIN_NAME,
        )
    if outcome.problems:
        raise outcome.problems[0]
    return outcome.findings
