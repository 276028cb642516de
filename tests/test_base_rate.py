"""Healthy code stays silent: no rule that is on by default warns about any of it.

``fixtures/healthy/patterns`` holds what careful practitioners write and a naive rule mistakes for a
fault. The files are read, never run; a pattern of several files is a folder, checked as a whole.
"""

from __future__ import annotations

import functools
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from convlint.engine import Outcome, check_paths
from convlint.findings import Finding, Severity
from convlint.rules import all_rules
from convlint.selection import RuleChoice
from convlint.settings import Overrides

if TYPE_CHECKING:
    from collections.abc import Callable

HEALTHY = Path(__file__).parent.parent / "fixtures" / "healthy"
PATTERNS = HEALTHY / "patterns"
FILES = sorted(HEALTHY.rglob("*.py"))
ENOUGH = 60

ON_BY_DEFAULT = {rule.slug for rule in all_rules() if rule.default}


@functools.cache
def outcome() -> Outcome:
    """Every healthy file judged by every rule, opt-in rules too, in one run."""
    every_rule = RuleChoice(select=tuple(rule.slug for rule in all_rules()))
    return check_paths((HEALTHY,), Overrides(rules=every_rule, show_info=True))


def findings_in(file: Path) -> list[Finding]:
    return [
        finding
        for finding in outcome().findings
        if Path(finding.location.path).resolve() == file.resolve()
    ]


def described(findings: list[Finding]) -> str:
    return "\n".join(f"{f.location.line}: {f.severity}: {f.slug}: {f.message}" for f in findings)


def test_there_are_enough_patterns_and_all_were_read() -> None:
    assert len(list(PATTERNS.rglob("*.py"))) >= ENOUGH
    assert outcome().problems == []
    assert outcome().faults == []
    # Files that mention no library of the field are read and need no judgement.
    assert outcome().files == len(FILES)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(HEALTHY)))
def test_no_rule_that_is_on_by_default_warns(file: Path) -> None:
    warned = [
        finding
        for finding in findings_in(file)
        if finding.slug in ON_BY_DEFAULT and finding.severity is not Severity.INFO
    ]
    assert not warned, described(warned)


def test_opt_in_rules_are_counted(record_property: Callable[[str, object], None]) -> None:
    """What opt-in rules say about healthy code is why they are opt-in: kept with the results."""
    fired = Counter(
        finding.slug
        for finding in outcome().findings
        if finding.slug not in ON_BY_DEFAULT and finding.severity is not Severity.INFO
    )
    for slug, count in sorted(fired.items()):
        record_property(slug, count)
    assert fired.keys() <= {rule.slug for rule in all_rules()} - ON_BY_DEFAULT
