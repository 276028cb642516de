"""Positions count characters, and name what people would point at."""

import ast
from pathlib import Path

import pytest

from convlint.findings import Location
from convlint.program.positions import Positions

SOURCES = sorted(Path(__file__).resolve().parents[2].joinpath("fixtures").rglob("*.py"))


def first_call(source: str) -> tuple[Positions, ast.Call]:
    """The positions of a file and the first call in it."""
    call = next(node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return Positions(source, "x.py"), call


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_text_of_every_name_and_call_is_what_the_source_says(path: Path) -> None:
    source = path.read_text()
    positions = Positions(source, str(path))
    tree = ast.parse(source)
    lines = source.encode().split(b"\n")
    in_strings = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        # Before Python 3.12 the parts of f-strings are placed approximately.
        if isinstance(node, (ast.Name, ast.Call)) and id(node) not in in_strings:
            text = positions.text(node).encode()
            assert lines[node.lineno - 1][node.col_offset :].startswith(text.partition(b"\n")[0])
            assert lines[(node.end_lineno or 0) - 1][: node.end_col_offset].endswith(
                text.rpartition(b"\n")[2]
            )


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_line_endings_of_all_kinds_count_as_lines(newline: str) -> None:
    source = newline.join(["import torch", "", "# comment", "f(1)", ""])
    positions, call = first_call(source)
    assert positions.of(call).line == 4
    assert positions.text(call) == "f(1)"


def test_columns_count_characters_not_bytes() -> None:
    source = 'größe = "äöü𝔘"; f("ß")\n'
    positions, call = first_call(source)
    assert positions.of(call) == Location("x.py", 1, 17, 1, 23)
    assert positions.text(call) == 'f("ß")'


def test_form_feeds_and_other_separators_end_no_line() -> None:
    source = 'a = "\x0c\x1c\u2028"\nf(1)\n'
    positions, call = first_call(source)
    assert positions.of(call) == Location("x.py", 2, 1, 2, 5)


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("class Net:\n    pass\n", (1, 7)),
        ("@decorator\nclass Net:\n    pass\n", (2, 7)),
        ("é = 1; \\\n\n@é\nasync  def Net(): pass\n", (4, 12)),
        ("class \\\n  Net: pass\n", (2, 3)),
    ],
)
def test_a_definition_is_named_where_its_name_stands(source: str, place: tuple[int, int]) -> None:
    definition = ast.parse(source).body[-1]
    assert isinstance(definition, (ast.ClassDef, ast.AsyncFunctionDef))
    location = Positions(source, "x.py").of_name(definition)
    assert (location.line, location.column) == place
    assert location.end_column - location.column == len("Net")


def test_a_module_is_all_of_its_file() -> None:
    source = "import torch\nf(1)"
    positions = Positions(source, "x.py")
    assert positions.of(ast.parse(source)) == Location("x.py", 1, 1, 2, 5)
    assert positions.text(ast.parse(source)) == source
