"""Healthy examples beside the change that makes them sick.

A healthy example shows something only if the rule would speak without what makes it healthy. A
``Contrast`` says which text that is: with the change, the same script must be found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable


class Contrast(NamedTuple):
    """A healthy script of a rule, named after what makes it healthy.

    ``without`` are a text of the script and what stands there in the sick twin; empty where there
    is none, as when the rule needs a fact that the script does not give.
    """

    slug: str
    name: str
    source: str
    without: tuple[str, str] | None = None


def healthy(cases: Iterable[Contrast]) -> dict[tuple[str, str], str]:
    """The scripts as they are."""
    return {(case.slug, case.name): case.source for case in cases}


def sick(cases: Iterable[Contrast]) -> dict[tuple[str, str], str]:
    """The scripts without what makes them healthy."""
    twins: dict[tuple[str, str], str] = {}
    for case in cases:
        if case.without is not None:
            there, instead = case.without
            if there not in case.source:
                raise ValueError(f"{case.slug}, {case.name}: there is no {there!r}")
            twins[case.slug, f"without: {case.name}"] = case.source.replace(there, instead)
    return twins
