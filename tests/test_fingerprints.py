from __future__ import annotations

import msgspec

from convlint.findings import Confidence, Finding, Location, Severity
from convlint.fingerprints import fingerprints
from convlint.statements import statement_at, statements

SOURCE = """\
import torch
optimizer = torch.optim.Adam(
    model.parameters(),
    lr=1.0,  # much
)
for x in loader:
    loss.backward(); optimizer.step()
    loss.backward()
"""


def finding(line: int, slug: str = "lr-high", path: str = "a.py") -> Finding:
    return Finding(
        code="OPT001",
        slug=slug,
        severity=Severity.WARNING,
        confidence=Confidence.HIGH,
        message=f"said of line {line}",
        location=Location(path, line, 5, line, 9),
    )


def prints(source: str, *lines: int, slug: str = "lr-high", path: str = "a.py") -> list[str]:
    found = [finding(line, slug, path) for line in lines]
    return [fingerprint for _, fingerprint in fingerprints(found, {path: source})]


def test_moved_lines_comments_and_layout_change_nothing():
    moved = '"""What it does."""\n\n\n' + SOURCE.replace("# much", "# convlint: ignore[x]")
    joined = (
        SOURCE.replace("(\n    model", "(model").replace("\n    lr", " lr").replace("# much", "")
    )
    assert prints(SOURCE, 4) == prints(moved, 7) == prints(joined, 3)
    assert prints(SOURCE, 2) == prints(SOURCE, 4)


def test_other_statement_rule_or_path_is_another_finding():
    base = prints(SOURCE, 4)
    assert prints(SOURCE.replace("lr=1.0", "lr=2.0"), 4) != base
    assert prints(SOURCE, 4, slug="other") != base
    assert prints(SOURCE, 4, path="b.py") != base


def test_same_statement_twice_is_told_apart_by_its_number():
    source = "loss.backward()\nx = 1\nloss.backward()\n"
    first, second = prints(source, 1, 3)
    assert first != second
    assert prints("y = 2\n" + source, 2, 4) == [first, second]


def test_text_that_cannot_be_read_still_has_fingerprints():
    assert len(set(prints("x = (\n", 1, 1))) == 2
    assert len(set(prints("", 1, 7))) == 2


def test_paths_are_relative_to_the_root_when_there_is_one(tmp_path):
    def relative(root: str) -> str:
        found = msgspec.structs.replace(
            finding(1), location=Location(f"{root}/pkg/a.py", 1, 1, 1, 2)
        )
        ((_, fingerprint),) = fingerprints([found], {f"{root}/pkg/a.py": "x = 1\n"}, root)
        return fingerprint

    assert relative("/one") == relative("/two/deep")


def test_statements_know_their_lines():
    found = statements(SOURCE)
    assert [(s.first_line, s.last_line) for s in found] == [
        (1, 1), (2, 5), (6, 6), (7, 7), (8, 8),
    ]  # fmt: skip
    assert statement_at(found, 4) == found[1]
    assert statement_at(found, 9) is None
    assert statement_at((), 1) is None
