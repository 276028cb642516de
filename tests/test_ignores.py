from __future__ import annotations

import ast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convlint.errors import UserError
from convlint.findings import Confidence, Finding, Location, Severity
from convlint.ignores import with_ignores
from convlint.statements import statements
from convlint.suppressions import find_suppressions, without_suppressed


def at(line: int, slug: str = "lr-high") -> Finding:
    return Finding(
        code="OPT001",
        slug=slug,
        severity=Severity.WARNING,
        confidence=Confidence.HIGH,
        message="",
        location=Location("a.py", line, 1, line, 2),
    )


@pytest.mark.parametrize(
    ("source", "line", "wanted"),
    [
        ("x = 1\n", 1, "x = 1  # convlint: ignore[lr-high] why\n"),
        ("x = 1", 1, "x = 1  # convlint: ignore[lr-high] why"),
        ("x = 1\r\ny = 2\r\n", 1, "x = 1  # convlint: ignore[lr-high] why\r\ny = 2\r\n"),
        (
            "f(\n    a,\n    lr=1,\n)\n",
            3,
            "f(\n    a,\n    lr=1,  # convlint: ignore[lr-high] why\n)\n",
        ),
        ("x = '''\n  '''\n", 1, "x = '''\n  '''  # convlint: ignore[lr-high] why\n"),
        ("x = f'''{a}\n  '''\n", 1, "x = f'''{a}\n  '''  # convlint: ignore[lr-high] why\n"),
        ("x = 1 + \\\n    2\n", 1, "x = 1 + \\\n    2  # convlint: ignore[lr-high] why\n"),
        (
            "f('''\n''', lr=1,\n  b=2)\n",
            2,
            "f('''\n''', lr=1,  # convlint: ignore[lr-high] why\n  b=2)\n",
        ),
        ("x = 1  # much\n", 1, "x = 1  # much  # convlint: ignore[lr-high] why\n"),
        ("x = 1  # ends in \\\n", 1, "x = 1  # ends in \\  # convlint: ignore[lr-high] why\n"),
        (
            "x = 1  # convlint: ignore[other] since\n",
            1,
            "x = 1  # convlint: ignore[other, lr-high] since\n",
        ),
        ("for x in y:\n\tz()\n", 1, "for x in y:  # convlint: ignore[lr-high] why\n\tz()\n"),
        ("x = '#'\n", 1, "x = '#'  # convlint: ignore[lr-high] why\n"),
    ],
)
def test_comment_stands_where_it_is_understood(source, line, wanted):
    changed = with_ignores(source, [at(line)], "why")
    assert changed == wanted
    assert without_suppressed([at(line)], find_suppressions(changed)) == []


def test_findings_of_one_line_share_a_comment_and_each_is_named_once():
    found = [at(1, "b"), at(1, "a"), at(1, "b"), at(2, "c")]
    assert with_ignores("x = 1\ny = 2\n", found, "# two\nlines ") == (
        "x = 1  # convlint: ignore[b, a] two lines\ny = 2  # convlint: ignore[c] two lines\n"
    )


def test_without_a_reason_none_is_written():
    assert with_ignores("x = 1\n", [at(1)]) == "x = 1  # convlint: ignore[lr-high]\n"


def test_place_that_is_no_statement_is_refused():
    with pytest.raises(UserError, match=r"a\.py:2: no statement to put a comment at"):
        with_ignores("x = 1\n\n", [at(2)])


PIECES = [
    "x = 1",
    "f(\n  a,\n)",
    "s = '''\n# no comment\n'''",
    "y = a + \\\n  b",
    "if x:\n    pass",
    "z = f'{a}'  # said",
    "# alone",
    "",
    "g(b'''\n''', '#')  # convlint: ignore[other] r",
    "t = f'''{\na\n}'''",
]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=6), st.data())
def test_every_line_of_any_statement_can_be_silenced_without_changing_the_program(pieces, data):
    source = "\n".join(pieces) + "\n"
    lines = [n for s in statements(source) for n in range(s.first_line, s.last_line + 1)]
    if not lines:
        return
    found = [at(line) for line in data.draw(st.lists(st.sampled_from(lines), min_size=1))]
    changed = with_ignores(source, found, "why")
    assert ast.dump(ast.parse(changed)) == ast.dump(ast.parse(source))
    assert without_suppressed(found, find_suppressions(changed)) == []
    assert with_ignores(changed, found, "why") == changed
