"""Applies the fixes of findings: choose, edit, check again, until nothing is left to fix.

Everything happens in memory; ``FixRun.changes`` then holds what is to be written.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

import msgspec

from convlint.errors import UserError
from convlint.findings import Applicability
from convlint.lazy_regex import lazy_regex

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from convlint.documents import Document
    from convlint.findings import Edit, Finding, Location
    from convlint.outcome import Outcome

MOST_ROUNDS = 10
"""A fix may uncover another fault; fixes that still do so after this many rounds chase one another."""

_LINE_END = lazy_regex(r"\r\n|\r|\n")

Signature = tuple[str, str, int, str]
"""What a fix is known by: its rule, the path and offset of its finding, and what it inserts."""
Span = tuple[int, int, str]
"""Start, end and replacement of an edit, as offsets into one text."""


class MisplacedEditError(Exception):
    """An edit speaks of a place the text does not have."""


class FixRun(msgspec.Struct):
    """What fixing came to.

    ``outcome`` is what is found in the fixed source, ``fixed`` the findings that are gone,
    ``changes`` the new text of every document that differs, ``notes`` what the user must know of
    fixes that were not made.
    """

    outcome: Outcome
    fixed: list[Finding] = msgspec.field(default_factory=list)
    changes: dict[str, str] = msgspec.field(default_factory=dict)
    documents: dict[str, Document] = msgspec.field(default_factory=dict)
    notes: list[UserError] = msgspec.field(default_factory=list)


def is_fixable(finding: Finding, *, unsafe: bool) -> bool:
    """Whether ``--fix`` would apply the fix of ``finding``."""
    fix = finding.fix
    return fix is not None and (unsafe or fix.applicability is Applicability.SAFE)


def fix_until_settled(
    check: Callable[[Mapping[str, bytes]], Outcome],
    open_document: Callable[[str], Document],
    *,
    unsafe: bool = False,
    wanted: Callable[[Finding, Mapping[str, tuple[str, str]]], bool] | None = None,
) -> FixRun:
    """Fix what ``check`` finds until a check finds nothing more to fix.

    ``check`` takes the new bytes of changed files, by the path findings name them by.
    ``open_document`` reads a file and may raise UserError; only files that were checked are
    opened. ``wanted`` is asked about each fix, with the text of each file before and after it.
    """
    work = _Work(check({}), open_document, unsafe, wanted)
    run = work.run
    for _ in range(MOST_ROUNDS):
        made = work.one_round()
        if not made:
            break
        replaced = {path: run.documents[path].encode(text) for path, text in run.changes.items()}
        run.outcome = check(replaced)
        work.settle(made)
    else:
        names = sorted({finding.slug for finding in work.candidates()})
        if names:
            run.notes.append(
                UserError(
                    f"fixes of {', '.join(names)} did not settle after {MOST_ROUNDS} rounds"
                    " (a fault of convlint, please report it)"
                )
            )
    run.changes = {
        path: text for path, text in run.changes.items() if text != run.documents[path].text
    }
    return run


def apply_edits(text: str, edits: Iterable[Edit]) -> str:
    """``text`` with ``edits`` made; line ends of replacements become those of the text around.

    Raises:
        MisplacedEditError: an edit lies outside the text, or two overlap.
    """
    return _spliced(text, _spans(_Lines(text), edits))


def _spans(lines: _Lines, edits: Iterable[Edit]) -> list[Span]:
    spans: list[Span] = []
    for edit in edits:
        place = edit.location
        start = lines.offset(place.line, place.column)
        end = lines.offset(place.end_line, place.end_column)
        spans.append((start, end, edit.replacement.replace("\n", lines.line_end_at(start))))
    return sorted(spans)


def _spliced(text: str, spans: Iterable[Span]) -> str:
    parts: list[str] = []
    position = 0
    for start, end, replacement in spans:
        if start < position or end < start:
            raise MisplacedEditError
        parts += (text[position:start], replacement)
        position = end
    parts.append(text[position:])
    return "".join(parts)


def _moved(offset: int, spans: Iterable[Span]) -> int:
    """Where the character at ``offset`` is once the edits are made."""
    moved = offset
    for start, end, replacement in spans:
        if end <= offset:
            moved += len(replacement) - (end - start)
        elif start < offset:
            return moved - (offset - start)
    return moved


class _Lines:
    """Where the lines of a text begin; a line ends at LF, CR LF or CR and nowhere else."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._ends = list(_LINE_END.finditer(text))
        self._starts = [0, *(match.end() for match in self._ends)]

    def offset(self, line: int, column: int) -> int:
        """The offset of a place; both count from 1, columns in characters.

        Raises:
            MisplacedEditError: the text has no such place.
        """
        if not 1 <= line <= len(self._starts):
            raise MisplacedEditError
        offset = self._starts[line - 1] + column - 1
        last = self._ends[line - 1].start() if line <= len(self._ends) else len(self._text)
        if not self._starts[line - 1] <= offset <= last:
            raise MisplacedEditError
        return offset

    def line_end_at(self, offset: int) -> str:
        """How the line around ``offset`` ends, or one nearby when it is the last."""
        if not self._ends:
            return "\n"
        line = bisect_right(self._starts, offset) - 1
        return self._ends[min(line, len(self._ends) - 1)].group()


class _Work:
    """The state of the rounds."""

    def __init__(
        self,
        outcome: Outcome,
        open_document: Callable[[str], Document],
        unsafe: bool,
        wanted: Callable[[Finding, Mapping[str, tuple[str, str]]], bool] | None,
    ) -> None:
        self.run = FixRun(outcome)
        self._open = open_document
        self._unsafe = unsafe
        self._wanted = wanted
        self._refused: set[Signature] = set()
        """Fixes that broke the syntax, did not remove their finding, or were declined."""
        self._closed: set[str] = set()
        """Files that cannot be changed."""
        self._lines: dict[str, tuple[str, _Lines]] = {}
        self._spans: dict[str, list[Span]] = {}
        """The edits last made, in the text they were made in."""

    def candidates(self) -> list[Finding]:
        """The findings whose fix may be applied, in order of place."""
        return [
            finding
            for finding in self.run.outcome.findings
            if is_fixable(finding, unsafe=self._unsafe)
            and self._signature(finding) not in self._refused
            and all(self._may_change(path, finding) for path in _paths(finding))
        ]

    def one_round(self) -> dict[int, tuple[Finding, Signature]]:
        """Apply the fixes that do not touch one another.

        Returns them with what they would be known by afterwards, if they were still offered.
        """
        while candidates := self.candidates():
            chosen = without_overlaps(candidates)
            if self._wanted is not None:
                chosen = self._asked(chosen)
            texts = self._changed(chosen)
            if texts is None:
                chosen, texts = self._one_by_one(chosen)
            if chosen:
                made = {id(f): (f, self._moved(self._signature(f))) for f in chosen}
                self._refused = {self._moved(signature) for signature in self._refused}
                self.run.changes.update(texts)
                return made
        return {}

    def _moved(self, signature: Signature) -> Signature:
        slug, path, offset, effect = signature
        return (slug, path, _moved(offset, self._spans.get(path, ())), effect)

    def settle(self, made: Mapping[int, tuple[Finding, Signature]]) -> None:
        """Count what is gone; a fix that left its finding in place is not made again."""
        offered = {
            self._signature(finding)
            for finding in self.run.outcome.findings
            if finding.fix is not None
        }
        for finding, signature in made.values():
            if signature in offered:
                self._refused.add(signature)
                self._note(finding, "was made but does not remove the finding")
            else:
                self.run.fixed.append(finding)

    def _asked(self, chosen: Sequence[Finding]) -> list[Finding]:
        accepted: list[Finding] = []
        for finding in chosen:
            texts = self._changed([finding])
            if texts is None:
                accepted.append(finding)
                continue
            views = {path: (self._text(path), text) for path, text in texts.items()}
            assert self._wanted is not None
            if self._wanted(finding, views):
                accepted.append(finding)
            else:
                self._refused.add(self._signature(finding))
        return accepted

    def _changed(self, chosen: Sequence[Finding]) -> dict[str, str] | None:
        """The texts with these fixes made; None when one of them would not be Python any more."""
        edits: dict[str, dict[Edit, None]] = {}
        for finding in chosen:
            assert finding.fix is not None
            for edit in finding.fix.edits:
                edits.setdefault(edit.location.path, {})[edit] = None
        texts: dict[str, str] = {}
        self._spans = {}
        for path, own in edits.items():
            document = self.run.documents[path]
            text = self._text(path)
            try:
                self._spans[path] = _spans(self._lines_of(path, text), own)
                texts[path] = _spliced(text, self._spans[path])
                document.encode(texts[path])
            except (MisplacedEditError, UserError):
                return None
            if not document.parses(texts[path]):
                return None
        return texts

    def _one_by_one(self, chosen: Sequence[Finding]) -> tuple[list[Finding], dict[str, str]]:
        good: list[Finding] = []
        for finding in chosen:
            if self._changed([*good, finding]) is None:
                self._refused.add(self._signature(finding))
                self._note(finding, "was not made: it would leave no valid Python")
            else:
                good.append(finding)
        return good, self._changed(good) or {}

    def _note(self, finding: Finding, why: str) -> None:
        place = finding.location
        self.run.notes.append(
            UserError(
                f"the fix of {finding.slug} {why} (a fault of convlint, please report it)",
                path=place.path,
                line=place.line,
                column=place.column,
            )
        )

    def _may_change(self, path: str, finding: Finding) -> bool:
        run = self.run
        if path in run.documents:
            return True
        if path in self._closed:
            return False
        try:
            if path not in run.outcome.checked:
                raise UserError(
                    f"the fix of {finding.slug} in {finding.location.path} was not made: it changes"
                    " this file, which is not among those checked",
                    path=path,
                )
            document = self._open(path)
            if document.text != run.outcome.sources.get(path):
                raise UserError("not changed: the file was changed while it was checked", path=path)
        except UserError as problem:
            self._closed.add(path)
            run.notes.append(problem)
            return False
        run.documents[path] = document
        return True

    def _text(self, path: str) -> str:
        return self.run.changes.get(path, self.run.documents[path].text)

    def _signature(self, finding: Finding) -> Signature:
        assert finding.fix is not None
        place = finding.location
        lines = self._lines_of(place.path, self.run.outcome.sources.get(place.path, ""))
        try:
            offset = lines.offset(place.line, place.column)
        except MisplacedEditError:
            offset = -1
        effect = "\0".join(edit.replacement for edit in finding.fix.edits)
        return (finding.slug, place.path, offset, effect)

    def _lines_of(self, path: str, text: str) -> _Lines:
        known = self._lines.get(path)
        if known is None or known[0] != text:
            known = self._lines[path] = (text, _Lines(text))
        return known[1]


def without_overlaps(findings: Iterable[Finding]) -> list[Finding]:
    """Those findings whose fixes can be made together: no edit touches one of an earlier finding.

    Fixes that consist of the same edits go together.
    """
    chosen: list[Finding] = []
    made: set[Edit] = set()
    for finding in findings:
        assert finding.fix is not None
        new = [edit for edit in finding.fix.edits if edit not in made]
        if any(_touch(edit.location, other.location) for edit in new for other in made):
            continue
        chosen.append(finding)
        made.update(new)
    return chosen


def _touch(one: Location, other: Location) -> bool:
    return (
        one.path == other.path
        and (one.line, one.column) <= (other.end_line, other.end_column)
        and (other.line, other.column) <= (one.end_line, one.end_column)
    )


def _paths(finding: Finding) -> set[str]:
    assert finding.fix is not None
    return {edit.location.path for edit in finding.fix.edits}
