"""Edits applied to text: places, line ends, overlaps; and the rounds until nothing is left."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convlint.documents import PythonDocument
from convlint.engine import check_paths
from convlint.findings import (
    Applicability,
    Confidence,
    Edit,
    Finding,
    Fix,
    Location,
    Severity,
)
from convlint.fixes import (
    MOST_ROUNDS,
    MisplacedEditError,
    apply_edits,
    fix_until_settled,
    without_overlaps,
)
from convlint.outcome import Outcome, SourceTexts
from convlint.selection import RuleChoice
from convlint.settings import Overrides
from convlint.workload import FEWEST_FOR_PROCESSES


def edit(line: int, start: int, end: int, replacement: str, path: str = "a.py") -> Edit:
    return Edit(Location(path, line, start, line, end), replacement)


def finding(*edits: Edit, slug: str = "odd-loop", safe: bool = True) -> Finding:
    applicability = Applicability.SAFE if safe else Applicability.UNSAFE
    return Finding(
        code="LPX001",
        slug=slug,
        severity=Severity.WARNING,
        confidence=Confidence.HIGH,
        message="odd",
        location=edits[0].location,
        fix=Fix("make it even", edits, applicability),
    )


def test_edits_are_made_wherever_they_stand_in_the_list():
    text = "a = 1\nb = 2\n"
    assert apply_edits(text, [edit(2, 5, 6, "20"), edit(1, 5, 6, "10")]) == "a = 10\nb = 20\n"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_inserted_lines_end_as_the_lines_around_them(end):
    text = f"a = 1{end}b = 2{end}"
    assert apply_edits(text, [edit(2, 1, 1, "c = 3\n")]) == f"a = 1{end}c = 3{end}b = 2{end}"


def test_mixed_line_ends_stay_and_new_ones_follow_their_line():
    text = "a\r\nb\nc\rd"
    edits = [edit(1, 2, 2, "\nx"), edit(2, 2, 2, "\ny"), edit(4, 2, 2, "\nz")]
    assert apply_edits(text, edits) == "a\r\nx\r\nb\ny\nc\rd\rz"


def test_columns_are_characters_and_form_feeds_end_no_line():
    text = "\x0cé = '日本'; b = 1\n"
    assert apply_edits(text, [edit(1, 16, 17, "2")]) == "\x0cé = '日本'; b = 2\n"


@pytest.mark.parametrize(
    "edits",
    [
        [edit(3, 1, 1, "x")],
        [edit(1, 7, 8, "x")],
        [edit(0, 1, 1, "x")],
        [edit(1, 1, 4, "x"), edit(1, 3, 5, "y")],
        [edit(1, 4, 2, "x")],
    ],
)
def test_edits_the_text_has_no_place_for_are_refused(edits):
    with pytest.raises(MisplacedEditError):
        apply_edits("a = 1\n", edits)


@given(st.text(alphabet="ab\r\n\té", max_size=30))
def test_replacing_every_line_by_itself_changes_nothing(text):
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    edits = [edit(n, 1, len(line) + 1, line) for n, line in enumerate(lines, start=1)]
    assert apply_edits(text, edits) == text


def test_of_two_fixes_that_touch_the_first_is_made():
    first = finding(edit(1, 1, 3, "x"))
    touching = finding(edit(1, 3, 5, "y"))
    apart = finding(edit(1, 6, 7, "z"))
    elsewhere = finding(edit(1, 1, 3, "x", path="b.py"))
    assert without_overlaps([first, touching, apart, elsewhere]) == [first, apart, elsewhere]


def test_fixes_of_the_same_edits_go_together():
    one, other = finding(edit(1, 1, 3, "x")), finding(edit(1, 1, 3, "x"), slug="same-loop")
    assert without_overlaps([one, other]) == [one, other]


class Checker:
    """Findings by what stands in the text: ``rules`` maps a word to what replaces it."""

    def __init__(self, text: str, rules: dict[str, str], *, safe: bool = True) -> None:
        self.text = text
        self.rules = rules
        self.safe = safe
        self.checks = 0

    def __call__(self, replaced) -> Outcome:
        self.checks += 1
        text = replaced.get("a.py", self.text.encode()).decode()
        outcome = Outcome(sources=SourceTexts({"a.py": text}), checked={"a.py"})
        for number, line in enumerate(text.split("\n"), start=1):
            for word, replacement in self.rules.items():
                start = line.find(word) + 1
                if start:
                    place = edit(number, start, start + len(word), replacement)
                    outcome.findings.append(finding(place, slug=word, safe=self.safe))
        return outcome

    def fixed(self, **options):
        return fix_until_settled(
            self, lambda path: PythonDocument(path, self.text.encode()), **options
        )


def test_a_fix_that_uncovers_another_fault_is_followed():
    run = Checker("aa\n", {"aa": "bb", "bb": "cc"}).fixed()
    assert run.changes == {"a.py": "cc\n"}
    assert [found.slug for found in run.fixed] == ["aa", "bb"]
    assert run.outcome.findings == []
    assert run.notes == []


def test_unsafe_fixes_are_made_when_allowed():
    checker = Checker("aa\n", {"aa": "bb"}, safe=False)
    kept = checker.fixed()
    assert (kept.changes, kept.fixed, len(kept.outcome.findings)) == ({}, [], 1)
    assert checker.fixed(unsafe=True).changes == {"a.py": "bb\n"}


def test_a_fix_that_breaks_the_syntax_is_dropped_and_the_others_made():
    run = Checker("aa\nbb\n", {"aa": "((", "bb": "cc"}).fixed()
    assert run.changes == {"a.py": "aa\ncc\n"}
    assert [str(note) for note in run.notes] == [
        "a.py:1:1: the fix of aa was not made: it would leave no valid Python"
        " (a fault of convlint, please report it)"
    ]


def test_a_fix_that_leaves_its_finding_is_made_once_and_said():
    run = Checker("aa\n", {"aa": "aa;aa"}).fixed()
    assert run.changes == {"a.py": "aa;aa\n"}
    assert run.fixed == []
    assert [note.message for note in run.notes] == [
        "the fix of aa was made but does not remove the finding"
        " (a fault of convlint, please report it)"
    ]


def test_fixes_that_chase_one_another_end_after_some_rounds():
    checker = Checker("aa\n", {"aa": "bb", "bb": "aa"})
    run = checker.fixed()
    assert checker.checks == MOST_ROUNDS + 1
    assert "did not settle after 10 rounds" in run.notes[0].message


def test_declined_fixes_are_asked_about_once():
    asked = []

    def wanted(found, views):
        asked.append((found.slug, views["a.py"]))
        return found.slug == "bb"

    run = Checker("aa\nbb\n", {"aa": "xx", "bb": "yy"}).fixed(wanted=wanted)
    assert run.changes == {"a.py": "aa\nyy\n"}
    assert asked == [("aa", ("aa\nbb\n", "xx\nbb\n")), ("bb", ("aa\nbb\n", "aa\nyy\n"))]


def test_files_that_were_not_checked_are_not_changed():
    checker = Checker("aa\n", {})
    outcome = checker({})
    outcome.findings.append(finding(edit(1, 1, 3, "x"), edit(1, 1, 1, "y", path="other.py")))
    run = fix_until_settled(lambda _: outcome, lambda path: PythonDocument(path, b"aa\n"))
    assert run.changes == {}
    assert run.notes[0].path == "other.py"
    assert "not among those checked" in run.notes[0].message


def test_a_file_changed_since_it_was_checked_is_left_alone():
    run = fix_until_settled(
        Checker("aa\n", {"aa": "bb"}), lambda path: PythonDocument(path, b"aa # edited\n")
    )
    assert run.changes == {}
    assert "changed while it was checked" in run.notes[0].message


MODEL = """\
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8))

    def forward(self, x):
        return self.layers(x)
"""
SCRIPT = "import torch\nfrom model import Net\n\nnet = Net()\nnet(torch.randn(4, 8))\n"


def test_importing_files_see_the_fixed_source_in_every_process(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.py").write_text(MODEL)
    for number in range(FEWEST_FOR_PROCESSES + 1):
        (tmp_path / f"train_{number}.py").write_text(SCRIPT)
    overrides = Overrides(rules=RuleChoice(select=("bias-before-norm",)))
    (finding,) = check_paths(["."], overrides, jobs=2).findings
    assert finding.location.path == "model.py"
    fixed = {"model.py": MODEL.replace("8, 8", "8, 8, bias=False").encode()}
    assert check_paths(["."], overrides, replaced=fixed, jobs=2).findings == []
