"""A small catalogue and a small extractor, for tests of what surrounds rules and extraction."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar

import pytest

import convlint.rules
from convlint.findings import (
    Applicability,
    Confidence,
    Edit,
    Evidence,
    Fix,
    Location,
    Related,
    Severity,
)
from convlint.program.facts import Call, TrainingProgram
from convlint.rules import Rule, all_rules

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from convlint.findings import Finding

# One thread for torch here and in all children: two test processes whose threads wait for each
# other by spinning are several times slower than two with one thread each.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"


class StubSyntaxError(Exception):
    """Raised by the stub extractor for a line that says ``unparsable``."""

    def __init__(self, path: str, line: int, column: int, message: str) -> None:
        super().__init__(message)
        self.path, self.line, self.column, self.message = path, line, column, message


def extract_marks(source: str, path: str, **_: object) -> TrainingProgram:
    """Facts of a source whose faults are calls ``error()``, ``warning()``, ``info()`` ..."""
    calls = []
    for number, line in enumerate(source.splitlines(), start=1):
        text = line.split("#")[0].strip()
        column = len(line) - len(line.lstrip()) + 1
        if text == "unparsable":
            raise StubSyntaxError(path, number, column, "unmatched ')'")
        if text.endswith("()"):
            place = Location(path, number, column, number, column + len(text))
            calls.append(Call(name=text[:-2], location=place))
    role = "test" if path.startswith("tests") else "script"
    return TrainingProgram(path=path, role=role, calls=tuple(calls))


def _stub_rules() -> tuple[Rule, ...]:
    # The real registry reads Rule's subclasses once; built first, it never sees these.
    all_rules()

    class MarkRule(Rule):
        marks: ClassVar[tuple[str, ...]]

        def static(self, program: TrainingProgram) -> Iterable[Finding]:
            for call in program.calls:
                if call.name in self.marks:
                    yield self.finding(
                        call.location,
                        f"found {call.name}",
                        help="Remove it.",
                        evidence=(Evidence("static", "it is called", "share", 0.5, "of all"),),
                        related=(Related(call.location, "the same place"),),
                    )

    class BrokenLoop(MarkRule):
        """The loop is broken.

        ## What it does
        Reports a broken loop.
        """

        code, slug, severity = "LPX001", "broken-loop", Severity.ERROR
        marks = ("error", "twice")

    class OddLoop(MarkRule):
        """The loop is odd."""

        code, slug, severity = "LPX002", "odd-loop", Severity.WARNING
        marks = ("warning",)

    class NotableLoss(MarkRule):
        """The loss is notable."""

        code, slug, severity = "LSX001", "notable-loss", Severity.INFO
        marks = ("info",)

    class DoubtfulLoss(MarkRule):
        """The loss may be wrong."""

        code, slug, severity = "LSX002", "doubtful-loss", Severity.WARNING
        confidence = Confidence.LOW
        marks = ("doubtful",)

    class OptionalLoss(MarkRule):
        """The loss is a matter of taste."""

        code, slug, severity, default = "LSX003", "optional-loss", Severity.WARNING, False
        marks = ("taste",)

    class FailingRule(MarkRule):
        """Fails on some programs."""

        code, slug, severity = "ZZX001", "failing-rule", Severity.WARNING
        marks = ()

        def static(self, program: TrainingProgram) -> Iterator[Finding]:
            for call in program.calls:
                if call.name == "crash":
                    raise KeyError("lr")
                if call.name == "twice":
                    for _ in range(2):
                        yield self.finding(call.location, "found twice")

    return (
        BrokenLoop(),
        OddLoop(),
        NotableLoss(),
        DoubtfulLoss(),
        OptionalLoss(),
        FailingRule(),
    )


def _fixing_rules() -> tuple[Rule, ...]:
    all_rules()

    class FixingRule(Rule):
        replacements: ClassVar[dict[str, str]]
        applicability: ClassVar[Applicability]

        def static(self, program: TrainingProgram) -> Iterator[Finding]:
            for call in program.calls:
                if call.name in self.replacements:
                    edit = Edit(call.location, self.replacements[call.name])
                    fix = Fix("put something else here", (edit,), self.applicability)
                    yield self.finding(call.location, f"found {call.name}", fix=fix)

    class RepairableLoop(FixingRule):
        """The loop can be repaired."""

        code, slug, severity = "LPX011", "repairable-loop", Severity.WARNING
        replacements: ClassVar = {"safe": "good = 1", "chain": "safe()", "breaking": "(("}
        applicability = Applicability.SAFE

    class RiskyLoop(FixingRule):
        """The loop can be repaired if you look."""

        code, slug, severity = "LPX012", "risky-loop", Severity.WARNING
        replacements: ClassVar = {"risky": "good = 2"}
        applicability = Applicability.UNSAFE

    return (RepairableLoop(), RiskyLoop())


@pytest.fixture
def fixing_rules(stub_rules: tuple[Rule, ...], monkeypatch: pytest.MonkeyPatch) -> tuple[Rule, ...]:
    """The small catalogue with rules that offer fixes."""
    rules = (*stub_rules, *_fixing_rules())
    monkeypatch.setattr(convlint.rules, "all_rules", lambda: rules)
    return rules


@pytest.fixture
def stub_rules(monkeypatch: pytest.MonkeyPatch) -> tuple[Rule, ...]:
    """Replace the catalogue and the extractor; a file needs the word ``torch`` to be read."""
    rules = _stub_rules()
    monkeypatch.setattr(convlint.rules, "all_rules", lambda: rules)
    monkeypatch.setattr("convlint.program.extract_program", extract_marks, raising=False)
    monkeypatch.setattr("convlint.program.SourceSyntaxError", StubSyntaxError, raising=False)
    return rules
