from __future__ import annotations

import io
import json

import pytest

from convlint.findings import (
    Applicability,
    Confidence,
    Edit,
    Evidence,
    Finding,
    Fix,
    Judgement,
    Location,
    Related,
    Severity,
    Verdict,
)
from convlint.report import text
from convlint.report.grouped import grouped
from convlint.report.statistics import statistics, statistics_json

SOURCE = "import torch\nlr = 10\n\toptimizer = SGD(lr=lr)  # 漢字\n"


PLACE = Location("train.py", 3, 18, 3, 23)


def finding(location: Location = PLACE, **changes) -> Finding:
    options = {
        "code": "OPT001",
        "slug": "lr-high",
        "severity": Severity.WARNING,
        "confidence": Confidence.HIGH,
        "message": "The learning rate 10 is too high",
        "location": location,
    }
    return Finding(**{**options, **changes})


def printed(lines) -> str:
    stream = io.StringIO()
    text.write_lines(lines, stream)
    return stream.getvalue()


def test_block_has_place_source_caret_evidence_verdict_and_advice():
    whole = finding(
        related=(Related(Location("train.py", 2, 6, 2, 8), "default of lr"),),
        evidence=(
            Evidence("measured", "the loss grew.", "factor", 12.3456, "per step", "below 1"),
        ),
        judgement=Judgement(Verdict.CONFIRMED, "the loss diverged"),
        help="Lower it to 0.1.",
    )
    assert printed(text.full([whole], {"train.py": SOURCE})) == (
        "train.py:3:18: warning lr-high (OPT001)\n"
        "  The learning rate 10 is too high\n"
        "  |\n"
        "3 | \toptimizer = SGD(lr=lr)  # 漢字\n"
        "  | \t                ^^^^^\n"
        "  = train.py:2: default of lr\n"
        "2 | lr = 10\n"
        "  |      ^^\n"
        "  = measured: the loss grew (factor = 12.3 per step); healthy: below 1\n"
        "  = confirmed: the loss diverged\n"
        "  = what to do: Lower it to 0.1.\n"
        "\n"
    )


def carets(location: Location, source: str) -> str:
    lines = printed(text.full([finding(location)], {"train.py": source})).splitlines()
    return lines[4]


def test_caret_runs_to_the_end_of_the_first_of_many_lines():
    assert carets(Location("train.py", 1, 5, 3, 2), "x = f(\n  1,\n)\n") == "  |     ^^"


def test_caret_line_counts_wide_characters_twice():
    assert carets(Location("train.py", 1, 6, 1, 8), "'漢字' x1\n") == "  | " + " " * 7 + "^^"


def test_measured_place_with_only_a_line_underlines_the_statement():
    assert carets(Location("train.py", 1, 1, 1, 1), "    x = 1\n") == "  |     ^^^^^"


def test_place_past_the_end_of_a_line_still_gets_a_caret():
    assert carets(Location("train.py", 1, 99, 1, 104), "x = 1\n") == "  |      ^"


def test_long_line_is_cut_around_the_place():
    source = "x = [" + "1, " * 200 + "fault, " + "2, " * 200 + "]\n"
    column = source.index("fault") + 1
    place = Location("train.py", 1, column, 1, column + 5)
    lines = printed(text.full([finding(place)], {"train.py": source})).splitlines()
    shown, marks = lines[3][4:], lines[4][4:]
    assert len(shown) == text.EXCERPT_WIDTH
    assert shown[marks.index("^") : marks.rindex("^") + 1] == "fault"


def test_file_that_is_gone_or_shorter_gives_no_excerpt(tmp_path):
    gone = finding(Location(str(tmp_path / "gone.py"), 3, 1, 3, 2))
    assert "|" not in printed(text.full([gone], {}))
    short = finding(Location("train.py", 9, 1, 9, 2))
    assert "|" not in printed(text.full([short], {"train.py": "x\n"}))


def test_control_characters_never_reach_the_terminal():
    bad = finding(Location("train.py", 1, 1, 1, 2), message="an \x1b[31mescape")
    output = printed(text.full([bad], {"train.py": "x = '\x1b[2J'\n"}))
    assert "\x1b" not in output


def test_concise_is_one_line_with_the_verdict():
    judged = finding(judgement=Judgement(Verdict.REFUTED, "the loss fell"))
    assert printed(text.concise([judged])) == (
        "train.py:3:18: warning lr-high (OPT001) The learning rate 10 is too high [refuted]\n"
    )


def test_statistics_count_each_rule_most_frequent_first():
    other = finding(code="LOP001", slug="zero-grad-missing")
    assert printed(statistics([finding(), other, other])) == (
        "2  LOP001  zero-grad-missing\n1  OPT001  lr-high\n"
    )


def test_summary_counts_severities_and_what_was_held_back():
    findings = [finding(), finding(severity=Severity.ERROR), finding(severity=Severity.INFO)]
    assert printed(text.summary(findings, files=2)) == (
        "Found 3 problems in 2 files: 1 error, 1 warning, 1 info.\n"
    )
    assert printed(text.summary([], files=1, unread=1)) == (
        "Nothing found in 1 file. 1 path could not be checked.\n"
    )
    assert printed(text.summary([], files=1, hidden=2)) == (
        "Nothing found in 1 file. (2 info findings not shown; --show-info shows them)\n"
    )


@pytest.mark.parametrize(
    ("environment", "terminal", "coloured"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": "0"}, False, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, True, False),
    ],
)
def test_colour_only_where_it_is_wanted(monkeypatch, environment, terminal, coloured):
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    stream = io.StringIO()
    stream.isatty = lambda: terminal
    assert text.shows_colour(stream) is coloured
    text.write_lines([(("x[red]", "bold red"),)], stream)
    assert ("\x1b[" in stream.getvalue()) is coloured
    assert "x[red]" in stream.getvalue()


def rows(line, width: int) -> list[str]:
    return ["".join(piece for piece, _ in row) for row in text.wrapped(line, width)]


def test_long_note_is_broken_between_words_below_its_beginning():
    note = ((" 3 = ", text.GUTTER), ("what to do: ", "bold"), ("lower the rate to 0.1", ""))
    assert rows(note, 24) == [" 3 = what to do: lower", "     the rate to 0.1"]
    assert rows(note, 80) == [" 3 = what to do: lower the rate to 0.1"]


def test_words_wider_than_the_terminal_and_wide_characters_keep_their_place():
    assert rows((("  ", ""), ("a" * 30 + " b", "")), 10) == ["  " + "a" * 30, "  b"]
    assert rows((("  ", ""), ("漢字 漢字 漢字", "")), 12) == ["  漢字 漢字", "  漢字"]


def test_source_is_not_broken():
    source = (("3 | ", text.GUTTER), ("x = f(a, b, c, d, e)", ""))
    assert rows(source, 10) == ["3 | x = f(a, b, c, d, e)"]


def test_measurement_the_verdict_gives_in_the_same_words_is_said_once():
    judged = finding(
        evidence=(Evidence("measured", "31 of 32 passes found a gradient left over"),),
        judgement=Judgement(Verdict.CONFIRMED, "31 of 32 passes found gradients: nothing clears"),
    )
    assert printed(text.full([judged], {})).count("31 of 32") == 1


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.12345, "0.123"), (1e-7, "1e-07"), (1662.4, "1660"), (99_960, "100000"), (1e6, "1e+06")],
)
def test_numbers_have_three_digits(value, shown):
    assert text.format_number(value) == shown


FIX = Fix("lower it", (Edit(PLACE, "1"),), Applicability.SAFE)


def test_statistics_mark_what_can_be_fixed_and_count_it_for_programs():
    fixable = finding(fix=FIX)
    partly = [finding(code="LOP001", slug="z", fix=FIX), finding(code="LOP001", slug="z")]
    assert printed(statistics([fixable, *partly])) == ("2  LOP001  [-] z\n1  OPT001  [*] lr-high\n")
    assert json.loads(statistics_json([fixable, *partly])) == [
        {"code": "LOP001", "slug": "z", "count": 2, "fixable": 1},
        {"code": "OPT001", "slug": "lr-high", "count": 1, "fixable": 1},
    ]


def test_grouped_findings_stand_in_columns_under_their_file():
    first = finding(Location("a.py", 3, 18, 3, 23))
    second = finding(Location("a.py", 12, 5, 12, 9), severity=Severity.ERROR, fix=FIX)
    third = finding(Location("b.py", 1, 1, 1, 2), slug="other")
    assert printed(grouped([first, second, third])) == (
        "a.py:\n"
        "  3:18  warning lr-high (OPT001) The learning rate 10 is too high\n"
        "  12:5  error   lr-high (OPT001) [*] The learning rate 10 is too high\n"
        "\n"
        "b.py:\n"
        "  1:1  warning other (OPT001) The learning rate 10 is too high\n"
        "\n"
    )
