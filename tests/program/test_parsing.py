"""What cannot be parsed is told in one line."""

import ast
import itertools
import sys
import warnings

import pytest

from convlint.program.parsing import SourceSyntaxError, parse
from convlint.program.syntax import descendants


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import torch\nx = (1))\n", "train.py:2:8: cannot parse: unmatched ')'"),
        ("ä = 'ü' 1\n", "train.py:1:9: cannot parse: invalid syntax"),
    ],
)
def test_syntax_error_names_place_and_cause(source: str, message: str) -> None:
    with pytest.raises(SourceSyntaxError) as caught:
        parse(source, "train.py")
    assert str(caught.value) == message


@pytest.mark.parametrize("source", ["x = '\0'\n", "x" + ".a" * 100_000, "-" * 100_000 + "1"])
def test_what_python_refuses_for_other_reasons_is_no_crash(source: str) -> None:
    with pytest.raises(SourceSyntaxError) as caught:
        parse(source, "train.py")
    assert "\n" not in str(caught.value)


def test_invalid_escapes_are_no_warnings() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parse("pattern = '\\d'\nif pattern is 'x': pass\n", "train.py")


@pytest.mark.parametrize(
    ("since", "line"),
    [
        ((3, 12), "type Batch = list[int]"),
        ((3, 12), "def first[T](items: list[T]) -> T: ..."),
        ((3, 13), "class Box[T = int]: ..."),
        ((3, 14), "greeting = t'{name}'"),
        ((3, 14), "try: ...\nexcept OSError, ValueError: ..."),
    ],
)
def test_syntax_of_a_newer_python_is_told_apart(since: tuple[int, int], line: str) -> None:
    if sys.version_info >= since:
        assert parse(line, "train.py").body
        return
    with pytest.raises(SourceSyntaxError) as caught:
        parse(line, "train.py")
    assert caught.value.message.endswith(f"Python {since[0]}.{since[1]} may allow it)")


def test_quotes_within_f_strings_are_told_apart() -> None:
    line = 'print(f"{scores["loss"]}")'
    if sys.version_info >= (3, 12):
        assert parse(line, "train.py").body
        return
    with pytest.raises(SourceSyntaxError, match=r"Python 3\.12 may allow it"):
        parse(line, "train.py")


def test_nodes_that_another_library_has_linked_together_do_not_go_round_in_circles() -> None:
    tree = ast.parse("a = b")
    shared = tree.body[0].value.ctx
    shared.parent = tree
    try:
        found = list(itertools.islice(descendants(tree), 100))
    finally:
        del shared.parent
    assert sum(node is tree for node in found) == 1
