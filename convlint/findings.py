"""Findings: what a rule says about a program, an execution or a log.

Everything here is plain data (``msgspec.Struct``), so that findings can be cached, compared,
sent over the language-server protocol and written in any report format.
"""

from __future__ import annotations

import enum

import msgspec


class Severity(enum.StrEnum):
    """How much the fault hurts the run."""

    INFO = "info"
    """Worth knowing; shown only when asked for."""
    WARNING = "warning"
    """Likely to hurt convergence."""
    ERROR = "error"
    """The training is broken."""

    @property
    def rank(self) -> int:
        """0 for info, 1 for warning, 2 for error."""
        return _SEVERITY_RANK[self]


_SEVERITY_RANK = {Severity.INFO: 0, Severity.WARNING: 1, Severity.ERROR: 2}


class Confidence(enum.StrEnum):
    """How sure the evidence makes us; low-confidence findings are hidden by default."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"

    @property
    def rank(self) -> int:
        """0 for low, 1 for medium, 2 for high."""
        return _CONFIDENCE_RANK[self]


_CONFIDENCE_RANK = {Confidence.LOW: 0, Confidence.MEDIUM: 1, Confidence.HIGH: 2}


class Location(msgspec.Struct, frozen=True, order=True):
    """A range of source text. Lines count from 1, columns from 1; the end is exclusive.

    In a notebook, lines are those of all its code; ``cell`` is the number of the cell among all
    cells, from 1, and ``cell_start`` the last line before it. Elsewhere both are 0.
    """

    path: str
    line: int
    column: int
    end_line: int
    end_column: int
    cell: int = 0
    cell_start: int = 0

    @property
    def shown_path(self) -> str:
        """The path, and in a notebook the cell, as a reader finds the place."""
        return f"{self.path}:cell {self.cell}" if self.cell else self.path

    @property
    def shown_line(self) -> int:
        """The line in the file, or in the cell."""
        return self.line - self.cell_start

    @property
    def shown_end_line(self) -> int:
        """The last line in the file, or in the cell."""
        return self.end_line - self.cell_start


class Related(msgspec.Struct, frozen=True):
    """A second place a reader needs, such as the default a value came from."""

    location: Location
    message: str


class Edit(msgspec.Struct, frozen=True):
    """Replace the text at ``location`` by ``replacement``."""

    location: Location
    replacement: str


class Applicability(enum.StrEnum):
    """``safe`` removes the fault and changes nothing else; everything else is ``unsafe``."""

    SAFE = "safe"
    UNSAFE = "unsafe"


class Fix(msgspec.Struct, frozen=True):
    """Text edits that remove a fault."""

    message: str
    edits: tuple[Edit, ...]
    applicability: Applicability = Applicability.UNSAFE


class Evidence(msgspec.Struct, frozen=True):
    """One fact a finding rests on.

    ``source`` is ``static``, ``measured`` or ``logged``; ``value`` is the number (unit in
    ``unit``) when there is one, and ``expected`` what a healthy run shows, in words.
    """

    source: str
    statement: str
    quantity: str = ""
    value: float | None = None
    unit: str = ""
    expected: str = ""


class Verdict(enum.StrEnum):
    """What the measurement says about a static finding (``convlint audit``)."""

    CONFIRMED = "confirmed"
    REFUTED = "refuted"
    UNMEASURED = "unmeasured"


class Judgement(msgspec.Struct, frozen=True):
    """A verdict with the measurement (or the reason there is none) in one sentence."""

    verdict: Verdict
    reason: str


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One fault, where it is, how sure we are, and what to do."""

    code: str
    slug: str
    severity: Severity
    confidence: Confidence
    message: str
    location: Location
    evidence: tuple[Evidence, ...] = ()
    related: tuple[Related, ...] = ()
    help: str = ""
    fix: Fix | None = None
    judgement: Judgement | None = None

    @property
    def sort_key(self) -> tuple[Location, str]:
        """Findings are reported in order of place, then of slug."""
        return (self.location, self.slug)
