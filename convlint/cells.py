"""What may be said of a notebook, whose cells are run many times and in any order."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

import msgspec

from convlint.notebooks import cell_starts, only_cell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from convlint.findings import Finding, Fix, Location


SHOWN_AT_THE_END = ("discarded-result",)
"""Rules about values nobody takes: of the last line of a cell, the reader does."""

NEVER_HAPPENS = ("never-stepped",)
"""Rules about what is never done with an object: a cell that does not train leaves that to others."""

BACKWARD = ".backward("


def settled_in_cells(
    findings: Sequence[Finding], text: str, path: str, judge: Callable[[str], list[Finding]]
) -> list[Finding]:
    """The findings that hold whatever ran before their cell, with the cell at every place.

    ``findings`` are those of all code in order, ``judge`` gives those of other text at ``path``.
    One stays when it is also found where the other cells only define and assign: what another
    cell does, or does not do, before this one is nobody's fault.
    """
    places = _Cells(text, path)
    alone: dict[int, set[tuple[int, int, str]]] = {}
    settled = []
    for finding in findings:
        place = places.named(finding.location)
        if place.path == path and place.cell:
            if not places.may_speak(finding, place):
                continue
            if place.cell not in alone:
                judged = judge(only_cell(text, place.cell))
                alone[place.cell] = {_key(other) for other in judged}
            if _key(finding) not in alone[place.cell]:
                continue
        settled.append(
            msgspec.structs.replace(
                finding,
                location=place,
                related=tuple(
                    msgspec.structs.replace(related, location=places.named(related.location))
                    for related in finding.related
                ),
                fix=finding.fix and places.in_fix(finding.fix),
            )
        )
    return settled


def with_its_cell(finding: Finding, text: str) -> Finding:
    """``finding`` of the notebook whose code is ``text``, with the cells of its places."""
    places = _Cells(text, finding.location.path)
    return msgspec.structs.replace(
        finding,
        location=places.named(finding.location),
        related=tuple(
            msgspec.structs.replace(related, location=places.named(related.location))
            for related in finding.related
        ),
    )


def _key(finding: Finding) -> tuple[int, int, str]:
    return (finding.location.line, finding.location.column, finding.slug)


class _Cells:
    def __init__(self, text: str, path: str) -> None:
        self._path = path
        self._lines = text.splitlines()
        self._starts = cell_starts(text)

    def may_speak(self, finding: Finding, place: Location) -> bool:
        """Whether the finding holds for code that is run cell by cell."""
        if finding.slug in SHOWN_AT_THE_END:
            return any(self._of(place, place.end_line))
        if finding.slug in NEVER_HAPPENS:
            cell = self._of(place, place.cell_start)
            return any(BACKWARD in line for line in cell)
        return True

    def _of(self, place: Location, after: int) -> Iterator[str]:
        """The lines of the cell of ``place`` behind line ``after``, without comments and magics."""
        ends = [start for start, _ in self._starts if start > place.line]
        last = ends[0] - 1 if ends else len(self._lines)
        for line in self._lines[after:last]:
            code = line.partition("#")[0].strip()
            if code and code != "pass":
                yield code

    def named(self, place: Location) -> Location:
        """``place`` with its cell, when it lies in the notebook."""
        number = bisect_right(self._starts, (place.line, 0)) - 1
        if place.path != self._path or number < 0:
            return place
        start, cell = self._starts[number]
        return msgspec.structs.replace(place, cell=cell, cell_start=start)

    def in_fix(self, fix: Fix) -> Fix:
        """``fix`` with the cells of its edits."""
        edits = tuple(
            msgspec.structs.replace(edit, location=self.named(edit.location)) for edit in fix.edits
        )
        return msgspec.structs.replace(fix, edits=edits)
