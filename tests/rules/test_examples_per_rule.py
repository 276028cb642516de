"""Every rule read from source has at least two sick and two healthy examples that run as tests.

The documentation of a rule gives one of each (tests/test_rule_examples.py runs them). The others are
entries of tables called ``SICK`` and ``HEALTHY``: those of ``examples_*.py`` run here, those of
``test_*_source.py`` where they are. An entry belongs to the rule whose slug or code is its first text
that names one. The scripts in ``fixtures/sick`` count for the faults they are labelled with.
"""

from __future__ import annotations

import collections
import importlib
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from non_triggers import LEFT_ALONE
from non_triggers import MILD as TOLD

from convlint.engine import check_source
from convlint.findings import Confidence, Severity
from convlint.rules import Rule, all_rules, find_rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Finding

HERE = Path(__file__).parent
FIXTURES = HERE.parent.parent / "fixtures" / "sick"
KINDS = ("sick", "healthy")
MILD = "mild"
"""Told as information, never as a warning."""
NEEDED = 2
STATIC_RULES = [rule for rule in all_rules() if rule.has_static()]


FURTHER = {
    kind: {
        (slug, name): module.HEAD + textwrap.dedent(body)
        for module in (
            importlib.import_module(path.stem) for path in sorted(HERE.glob("examples_*.py"))
        )
        for (slug, name), body in getattr(module, kind.upper(), {}).items()
    }
    for kind in (*KINDS, MILD)
}
"""The examples of the ``examples_*.py``, by kind, rule and name."""


def words(entry: object) -> Iterator[str]:
    """The texts of a table's entry, in order."""
    if isinstance(entry, str):
        yield entry
    elif isinstance(entry, tuple):
        for part in entry:
            yield from words(part)


def tabulated() -> Iterator[tuple[str, str]]:
    """The slug and kind of every entry of a table that names its rule."""
    for kind in KINDS:
        yield from ((slug, kind) for slug, _ in FURTHER[kind])
    for path in sorted(HERE.glob("test_*source*.py")):
        module = importlib.import_module(path.stem)
        for kind in KINDS:
            table = getattr(module, kind.upper(), ())
            for entry in table.items() if isinstance(table, dict) else table:
                named = (find_rule(word) for word in words(entry) if "\n" not in word)
                if rule := next(filter(None, named), None):
                    yield rule.slug, kind


def labelled() -> Iterator[tuple[str, str]]:
    """The slug of every fault that a sick fixture is labelled with."""
    for path in sorted(FIXTURES.glob("*.py")):
        for slugs in re.findall(r"# expect: (.+)$", path.read_text(), flags=re.MULTILINE):
            yield from ((slug.strip(), "sick") for slug in slugs.split(","))


def counts() -> collections.Counter[tuple[str, str]]:
    """How many examples there are of each rule and kind."""
    documented = ((rule.slug, kind) for rule in STATIC_RULES for kind in KINDS)
    return collections.Counter((*documented, *tabulated(), *labelled()))


COUNTS = counts()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rule", STATIC_RULES, ids=lambda rule: rule.slug)
def test_there_are_enough_examples(rule: Rule, kind: str) -> None:
    assert COUNTS[rule.slug, kind] >= NEEDED


def findings_of(slug: str, source: str, confidence: Confidence) -> list[Finding]:
    """What the one rule reports at this confidence or above."""
    path = re.search(r"^# file: (.+)$", source, flags=re.MULTILINE)
    rule = find_rule(slug)
    assert rule is not None
    compile(source, slug, "exec")
    return check_source(
        source,
        path[1] if path else "train.py",
        rules=[rule],
        min_confidence=confidence,
    )


def found(slug: str, source: str, confidence: Confidence) -> list[str]:
    """The rule's slug as often as it speaks."""
    return [finding.slug for finding in findings_of(slug, source, confidence)]


@pytest.mark.parametrize("case", FURTHER["sick"], ids=": ".join)
def test_a_fault_is_found_once(case: tuple[str, str]) -> None:
    assert found(case[0], FURTHER["sick"][case], Confidence.LOW) == [case[0]]


@pytest.mark.parametrize("case", FURTHER["healthy"], ids=": ".join)
def test_healthy_code_is_left_alone(case: tuple[str, str]) -> None:
    assert found(case[0], FURTHER["healthy"][case], Confidence.MEDIUM) == []


@pytest.mark.parametrize("case", FURTHER[MILD], ids=": ".join)
def test_what_is_only_worth_knowing_is_information(case: tuple[str, str]) -> None:
    told = findings_of(case[0], FURTHER[MILD][case], Confidence.LOW)
    assert all(finding.severity is Severity.INFO for finding in told)


def named_in_tables() -> set[tuple[str, str]]:
    """The slug and name of every healthy example: of ``examples_*.py``, and of the tables of
    ``test_*_source.py`` whose entries begin with both."""
    names = set(FURTHER["healthy"])
    for path in sorted(HERE.glob("test_*source*.py")):
        table = getattr(importlib.import_module(path.stem), "HEALTHY", ())
        entries = table.items() if isinstance(table, dict) else table
        for entry in entries:
            short = [word for word in words(entry) if "\n" not in word]
            rule = next(filter(None, map(find_rule, short)), None)
            if rule is not None:
                names |= {(rule.slug, word) for word in short}
    return names


NAMED = named_in_tables()


@pytest.mark.parametrize(
    ("slug", "example"),
    [(slug, name) for slug, cases in LEFT_ALONE.items() for name in cases.values()],
)
def test_what_a_rule_leaves_alone_has_an_example(slug: str, example: str) -> None:
    rule = find_rule(slug)
    assert rule is not None
    assert rule.slug == slug
    assert (slug, example) in NAMED


def test_what_a_rule_only_tells_has_an_example() -> None:
    assert {(slug, name) for slug, cases in TOLD.items() for name in cases.values()} == set(
        FURTHER[MILD]
    )
