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


HEAD = """\
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
"""
SHARED = {
    "a loader made by a helper for training and evaluation alike": (
        "eval-shuffled",
        """
        def loader_of(part):
            return DataLoader(part, batch_size=32, shuffle=True)

        train_loader, val_loader = loader_of(data), loader_of(data)
        for x, y in val_loader:
            pass
        """,
    ),
    "an iterator whose making cannot be repeated": (
        "exhausted-iterator",
        """
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Linear(8, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        batches = enumerate(list(loader)[1:] and loader)
        for epoch in range(10):
            for i, (x, y) in batches:
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x), y).backward()
                optimizer.step()
        """,
    ),
    "a step on the line of its loop": (
        "zero-grad-missing",
        """
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Linear(8, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for x, y in loader: nn.functional.cross_entropy(model(x), y).backward(); optimizer.step()
        """,
    ),
    "an optimizer whose name the loop gives to another one": (
        "zero-grad-missing",
        """
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Linear(8, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for x, y in loader:
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            optimizer.step()
        """,
    ),
}


@pytest.mark.parametrize(("slug", "body"), SHARED.values(), ids=SHARED)
def test_where_no_exact_edit_is_known_there_is_none(slug: str, body: str) -> None:
    findings = judged(slug, HEAD + textwrap.dedent(body)).findings
    assert [finding.fix for finding in findings if finding.fix is not None] == []
