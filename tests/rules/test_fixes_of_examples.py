"""Fixes of the further sick examples: whatever is offered removes the fault and brings no other."""

from __future__ import annotations

import importlib
import textwrap
from pathlib import Path

import pytest

from convlint.documents import PythonDocument
from convlint.engine import check_source
from convlint.findings import Severity
from convlint.fixes import fix_until_settled
from convlint.outcome import Outcome, SourceTexts
from convlint.rules import all_rules, find_rule

HERE = Path(__file__).parent
RULES = all_rules()
EXAMPLES = {
    f"{slug}: {name}": (slug, module.HEAD + textwrap.dedent(body))
    for module in (importlib.import_module(path.stem) for path in HERE.glob("examples_*.py"))
    for (slug, name), body in module.SICK.items()
}


def judged(slug: str, text: str) -> Outcome:
    rule = find_rule(slug)
    assert rule is not None
    return Outcome(
        findings=check_source(text, "example.py", rules=[rule]),
        sources=SourceTexts({"example.py": text}),
        checked={"example.py"},
    )


def faults(text: str) -> set[str]:
    """Slugs of everything found at warning or above."""
    found = check_source(text, "example.py", rules=RULES)
    return {finding.slug for finding in found if finding.severity is not Severity.INFO}


@pytest.mark.parametrize(("slug", "text"), EXAMPLES.values(), ids=EXAMPLES)
def test_a_fix_removes_its_fault_and_brings_no_other(slug: str, text: str) -> None:
    run = fix_until_settled(
        lambda replaced: judged(slug, replaced.get("example.py", text.encode()).decode()),
        lambda path: PythonDocument(path, text.encode()),
        unsafe=True,
    )
    assert run.notes == []
    if run.changes:
        fixed = run.changes["example.py"]
        assert faults(fixed) <= faults(text)
        assert [finding for finding in run.outcome.findings if finding.fix is not None] == []
