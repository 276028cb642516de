from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convlint.comment_edits import remove_name
from convlint.engine import check_source
from convlint.findings import Applicability, Confidence, Finding, Location, Severity
from convlint.fixes import apply_edits
from convlint.suppressions import find_suppressions, without_suppressed


def finding_at(line: int, slug: str = "zero-grad-missing", code: str = "LOP001") -> Finding:
    return Finding(
        code=code,
        slug=slug,
        severity=Severity.ERROR,
        confidence=Confidence.HIGH,
        message="",
        location=Location("a.py", line, 1, line, 2),
    )


def silenced(source: str, line: int) -> bool:
    return without_suppressed([finding_at(line)], find_suppressions(source)) == []


@pytest.mark.parametrize(
    "comment",
    [
        "# convlint: ignore[zero-grad-missing]",
        "# convlint: ignore[LOP001] accumulates on purpose",
        "# convlint: ignore[lr-high, lop001]",
        "# convlint:ignore[Zero-Grad-Missing]",
        "# convlint: ignore",
        "# noqa: LOP001",
        "# noqa:E501,LOP001",
        "# noqa: E501 LOP001",
        "# noqa",
        "# type: ignore  # noqa: LOP001",
    ],
)
def test_comment_on_the_line_silences(comment):
    assert silenced(f"x = 1\nloss.backward()  {comment}\n", 2)


@pytest.mark.parametrize(
    "comment",
    [
        "# convlint: ignore[lr-high]",
        "# convlint: ignore[]",
        "# noqa: E501",
        "# noqa: some words",
        "# noqa-ish",
        "# nothing to do with convlint: ignored",
    ],
)
def test_comment_about_something_else_does_not_silence(comment):
    assert not silenced(f"loss.backward()  {comment}\n", 1)


def test_comment_speaks_of_its_own_statement_only():
    source = "a()  # noqa: LOP001\nloss.backward()\n"
    assert not silenced(source, 2)


def test_comment_alone_above_silences_the_statement_below():
    source = "# convlint: ignore[LOP001] why\n# another remark\nloss.backward()\nstep()\n"
    assert silenced(source, 3)
    assert not silenced(source, 4)


def test_comment_with_a_gap_below_it_silences_nothing():
    assert not silenced("# convlint: ignore[LOP001]\n\nloss.backward()\n", 3)


def test_comment_after_a_statement_of_many_lines_covers_its_first_line():
    source = "optimizer = SGD(\n    parameters,\n    lr=10,\n)  # convlint: ignore[LOP001]\n"
    assert all(silenced(source, line) for line in (1, 2, 3, 4))


def test_comment_on_a_loop_header_leaves_its_body_alone():
    source = "for x in loader:  # convlint: ignore[LOP001]\n    loss.backward()\n"
    assert silenced(source, 1)
    assert not silenced(source, 2)


def test_whole_file_can_be_silenced_from_anywhere():
    source = "x = 1\n\n\nloss.backward()\n# convlint: ignore-file[LOP001]\n"
    assert silenced(source, 1)
    assert silenced(source, 4)
    assert not silenced(source.replace("LOP001", "LOP002"), 4)


def test_next_line_is_the_statement_after_the_comment():
    trailing = "a()  # convlint: ignore-next-line[LOP001] why\nloss.backward()\nloss.backward()\n"
    assert [silenced(trailing, line) for line in (1, 2, 3)] == [False, True, False]
    alone = "# convlint: ignore-next-line[LOP001]\n\nSGD(\n    p,\n)\nstep()\n"
    assert [silenced(alone, line) for line in (3, 4, 5, 6)] == [True, True, True, False]


def test_range_holds_until_it_is_ended_or_to_the_end_of_the_file():
    source = (
        "a()\n# convlint: disable[LOP001, lr-high] why\nb()\nc()  # convlint: enable[LOP001]\nd()\n"
    )
    assert [silenced(source, line) for line in (1, 3, 4, 5)] == [False, True, True, False]
    endless = source.replace("enable[LOP001]", "nothing")
    assert silenced(endless, 5)
    everything = source.replace("[LOP001, lr-high]", "").replace("enable[LOP001]", "enable")
    assert [silenced(everything, line) for line in (3, 5)] == [True, False]
    other = source.replace("enable[LOP001]", "enable[lr-high]")
    assert silenced(other, 5)


def test_text_in_a_string_is_no_comment():
    assert not silenced("print('# convlint: ignore-file')\nloss.backward()\n", 2)


def test_source_that_cannot_be_tokenised_has_no_suppressions_past_the_fault():
    assert find_suppressions("x = (  # noqa: LOP001\n") == ()


FRAGMENTS = [
    "# noqa",
    "# convlint: ignore[",
    "LOP001",
    "]",
    ",",
    "\n",
    "    ",
    "(",
    ")",
    "'",
    "\\",
    "x",
]


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=30).map("".join))
def test_no_text_makes_the_search_fail(source):
    lines = source.count("\n") + 1
    for suppression in find_suppressions(source):
        assert 1 <= suppression.comment_line <= lines


@pytest.fixture
def spoken_of(tmp_path, monkeypatch):
    """The messages and columns ``unused-suppression`` has for a script, by line."""
    monkeypatch.chdir(tmp_path)

    def check(source: str, **options) -> list[tuple[int, int, int, str]]:
        return [
            (f.location.line, f.location.column, f.location.end_column, f.message)
            for f in check_source(source, "train.py", **options)
            if f.slug == "unused-suppression"
        ]

    return check


LOOP = """\
import torch
model = torch.nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for x, y in data:
    {clear}
    torch.nn.functional.mse_loss(model(x), y).backward(){comment}
    optimizer.step()
"""


def test_comment_that_silences_a_fault_is_not_spoken_of(spoken_of):
    comment = "  # convlint: ignore[zero-grad-missing]"
    assert spoken_of(LOOP.format(clear="pass", comment=comment)) == []


def test_comment_left_behind_is_reported_where_it_stands(spoken_of):
    comment = "  # convlint: ignore[missing-clipping] gone long ago"
    source = LOOP.format(clear="optimizer.zero_grad()", comment=comment)
    assert spoken_of(source, select=["LOP", "SUP"]) == [
        (6, 59, 95, "missing-clipping has nothing to say here, so this comment silences nothing")
    ]


def test_misspelt_name_is_reported_with_the_nearest(spoken_of):
    comment = "  # convlint: ignore[zero-grad-mising]"
    source = LOOP.format(clear="optimizer.zero_grad()", comment=comment)
    assert [message for *_, message in spoken_of(source)] == [
        "no rule is called 'zero-grad-mising'; did you mean 'zero-grad-missing'?"
    ]


@pytest.mark.parametrize(
    "comment",
    [
        "# noqa: LOP, ABC123",
        "# noqa",
        "# convlint: ignore",
        "# convlint: ignore[unnormalized-input] judges runs as well",
        "# convlint: ignore[nothing-like-it, unused-suppression]",
    ],
)
def test_comment_that_cannot_be_judged_is_not_spoken_of(spoken_of, comment):
    assert spoken_of(LOOP.format(clear="optimizer.zero_grad()", comment="  " + comment)) == []


def test_rule_that_did_not_run_is_not_called_unused(spoken_of):
    source = LOOP.format(
        clear="optimizer.zero_grad()", comment="  # convlint: ignore[missing-clipping]"
    )
    assert spoken_of(source, select=["SUP", "LOP001"]) == []


def test_code_prefix_silences_as_it_selects():
    assert silenced("loss.backward()  # convlint: ignore[LOP]\n", 1)


FIXED = [
    ("  # convlint: ignore[missing-clipping] gone long ago", ""),
    ("  # convlint: ignore[LOP008, LOP001] x", "  # convlint: ignore[LOP001] x"),
    ("  # noqa: E501, LOP008  why", "  # noqa: E501  why"),
    ("  # noqa: LOP008", ""),
    ("  # type: ignore  # convlint: ignore[LOP008] x  # cold", "  # type: ignore  # cold"),
    ("  # convlint: disable[LOP008] x", ""),
    ("\n    # convlint: ignore-next-line[LOP008] x", ""),
    ("\n    # convlint: ignore-file[LOP008]", ""),
    ("  # convlint: enable[LOP008]", ""),
    ("  # convlint: enable", ""),
]


@pytest.mark.parametrize(("comment", "left"), FIXED)
def test_fix_takes_out_what_silences_nothing_and_no_more(tmp_path, monkeypatch, comment, left):
    monkeypatch.chdir(tmp_path)
    source = LOOP.format(clear="optimizer.zero_grad()", comment=comment)
    for _ in range(3):
        found = check_source(source, "train.py", select=["LOP", "SUP"])
        fixes = [f.fix for f in found if f.slug == "unused-suppression"]
        if not fixes:
            break
        assert fixes[0].applicability is Applicability.SAFE
        source = apply_edits(source, fixes[0].edits)
    else:
        pytest.fail("the comment is reported again and again")
    assert source == LOOP.format(clear="optimizer.zero_grad()", comment=left)


def test_names_that_are_used_stay_in_the_comment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    comment = "  # convlint: ignore[LOP008, zero-grad-missing] sums up"
    source = LOOP.format(clear="pass", comment=comment)
    (finding,) = check_source(source, "train.py", select=["LOP001", "LOP008", "SUP"])
    assert apply_edits(source, finding.fix.edits) == LOOP.format(
        clear="pass", comment="  # convlint: ignore[zero-grad-missing] sums up"
    )


def test_misspelt_name_is_corrected_by_an_unsafe_fix(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    comment = "  # convlint: ignore[zero-grad-mising] why"
    source = LOOP.format(clear="pass", comment=comment)
    finding = next(f for f in check_source(source, "train.py") if f.code == "SUP001")
    assert finding.fix.applicability is Applicability.UNSAFE
    fixed = apply_edits(source, finding.fix.edits)
    assert fixed == source.replace("mising", "missing")
    assert "zero-grad-missing" not in {f.slug for f in check_source(fixed, "train.py")}


def test_comment_that_is_not_where_it_is_said_to_stand_gets_no_fix():
    (suppression,) = find_suppressions("x()  # convlint: ignore[LOP008]\n")
    assert remove_name("x()\n", "a.py", suppression, "lop008") is None
    assert remove_name("", "a.py", suppression, "lop008") is None
