"""Positions agree with Python's own, for every call of real files."""

import ast
from pathlib import Path

import libcst as cst
import libcst.matchers as m
import pytest

from convlint.program.positions import Positions

SOURCES = sorted(Path(__file__).resolve().parents[2].joinpath("fixtures").rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_calls_stand_where_python_says(path: Path) -> None:
    source = path.read_text()
    module = cst.parse_module(source)
    positions = Positions(module, str(path))
    ours = sorted(
        (p.line, p.column, p.end_line, p.end_column)
        for p in (positions.of(call) for call in m.findall(module, m.Call()))
    )
    theirs = sorted(
        (n.lineno, n.col_offset + 1, n.end_lineno, (n.end_col_offset or 0) + 1)
        for n in ast.walk(ast.parse(source))
        if isinstance(n, ast.Call) and (n.lineno, n.col_offset) not in _inside_f_strings(source)
    )
    assert set(theirs) <= set(ours)


def _inside_f_strings(source: str) -> set[tuple[int, int]]:
    """Before Python 3.12, ast places the parts of f-strings approximately."""
    return {
        (inner.lineno, inner.col_offset)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.JoinedStr)
        for inner in ast.walk(node)
        if isinstance(inner, ast.Call)
    }


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_line_endings_of_all_kinds_count_as_lines(newline: str) -> None:
    module = cst.parse_module(newline.join(["import torch", "", "# comment", "f(1)", ""]))
    call = m.findall(module, m.Call())[0]
    assert Positions(module, "x.py").of(call).line == 4
