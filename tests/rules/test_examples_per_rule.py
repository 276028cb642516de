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

from convlint.engine import check_source
from convlint.findings import Confidence
from convlint.rules import Rule, all_rules, find_rule

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
FIXTURES = HERE.parent.parent / "fixtures" / "sick"
KINDS = ("sick", "healthy")
NEEDED = 2
STATIC_RULES = [rule for rule in all_rules() if rule.has_static()]


FURTHER = {
    kind: {
        (slug, name): module.HEAD + textwrap.dedent(body)
        for module in (
            importlib.import_module(path.stem) for path in sorted(HERE.glob("examples_*.py"))
        )
        for (slug, name), body in getattr(module, kind.upper()).items()
    }
    for kind in KINDS
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


def found(slug: str, source: str, confidence: Confidence) -> list[str]:
    """What the one rule reports at this confidence or above."""
    path = re.search(r"^# file: (.+)$", source, flags=re.MULTILINE)
    rule = find_rule(slug)
    assert rule is not None
    compile(source, slug, "exec")
    findings = check_source(
        source,
        path[1] if path else "train.py",
        rules=[rule],
        min_confidence=confidence,
    )
    return [finding.slug for finding in findings]


@pytest.mark.parametrize("case", FURTHER["sick"], ids=": ".join)
def test_a_fault_is_found_once(case: tuple[str, str]) -> None:
    assert found(case[0], FURTHER["sick"][case], Confidence.LOW) == [case[0]]


@pytest.mark.parametrize("case", FURTHER["healthy"], ids=": ".join)
def test_healthy_code_is_left_alone(case: tuple[str, str]) -> None:
    assert found(case[0], FURTHER["healthy"][case], Confidence.MEDIUM) == []
