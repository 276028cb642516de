from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convlint.errors import UserError
from convlint.sources import (
    decode,
    display_path,
    may_matter,
    mentions_ml_library,
    read_file,
    refuse_unreadable,
)


def test_an_unreadable_file_says_so_in_one_line(tmp_path):
    with pytest.raises(UserError, match=r"cannot read: Is a directory"):
        read_file(tmp_path)
    with pytest.raises(UserError, match=r"a\.ipynb: cannot read: No such file"):
        read_file(tmp_path / "a.ipynb")


def test_shown_path_is_relative_below_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert display_path(Path("./pkg/../a.py")) == "a.py"
    assert display_path(tmp_path / "pkg" / "a.py") == f"pkg{os.sep}a.py"
    assert display_path(tmp_path.parent / "b.py") == str(tmp_path.parent / "b.py")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("name = 'é'\n".encode(), "name = 'é'\n"),
        (b"\xef\xbb\xbfx = 1\r\n", "x = 1\r\n"),
        ("# coding: latin-1\nname = 'é'\n".encode("latin-1"), "# coding: latin-1\nname = 'é'\n"),
        (
            "#!/usr/bin/python\n# vim: set fileencoding=cp1252 :\n# €\n".encode("cp1252"),
            "#!/usr/bin/python\n# vim: set fileencoding=cp1252 :\n# €\n",
        ),
        (b"", ""),
    ],
)
def test_text_is_decoded_as_python_would(data, text):
    assert decode(data, "a.py") == text


def test_coding_line_after_code_does_not_count():
    assert decode(b"x = 1\n# coding: nonsense\n", "a.py").startswith("x = 1")


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"# coding: klingon\n", "a.py:1: unknown encoding: klingon"),
        (b"# coding: rot13\n", "a.py:1: unknown encoding: rot13"),
        (b"# coding: ascii\nx = '\xc3'\n", "a.py:2:6: cannot decode as ascii: byte 0xc3"),
        (
            b"\xef\xbb\xbf# coding: latin-1\n",
            "a.py:1: the byte-order mark says utf-8, the coding line latin-1",
        ),
        (b"x = 1\ny = '\x00'\n", "a.py:2: cannot parse: contains a NUL character"),
    ],
)
def test_text_that_cannot_be_decoded_is_one_clear_line(data, line):
    with pytest.raises(UserError) as caught:
        decode(data, "a.py")
    assert str(caught.value) == line


def test_undeclared_encoding_tells_how_to_declare_one():
    with pytest.raises(UserError, match=r"a\.py:1:4: cannot decode as utf-8: byte 0xe9 \(declare"):
        decode(b"x='\xe9'", "a.py")


def test_only_files_that_name_a_library_can_matter():
    assert mentions_ml_library(b"from torch import nn")
    assert mentions_ml_library(b"import sklearn.linear_model")
    assert not mentions_ml_library(b"import os\n\nprint('hello')\n")


def test_script_that_starts_training_in_other_files_may_matter():
    script = b"from trainer import Trainer\n\nTrainer(epochs=3).fit()\n"
    assert not mentions_ml_library(script)
    assert may_matter(script)
    assert not may_matter(b"import os\n\nprint('the train to Bern leaves')\n")
    assert not may_matter(b"def train(epochs):\n    return epochs\n")


def test_brackets_python_would_refuse_never_reach_the_parser():
    refuse_unreadable("x = " + "(" * 200 + ")" * 200, "a.py")
    refuse_unreadable("x = '" + "(" * 500 + "'  # " + "[" * 500, "a.py")
    with pytest.raises(UserError) as caught:
        refuse_unreadable("y = 1\nx = " + "[" * 500 + "]" * 500, "a.py")
    assert str(caught.value) == "a.py:2:205: cannot parse: too many nested parentheses"


@given(st.binary(max_size=200))
def test_no_bytes_make_decoding_fail_otherwise(data):
    try:
        decode(data, "a.py")
    except UserError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    "expression",
    [
        " + ".join(f"a{i}" for i in range(2000)),
        "(\n" + " +\n".join(f"'a{i}'" for i in range(2000)) + ")",
        "y" + ".f()" * 3000,
        "y" + ".f(a, b)" * 3000,
        "[0, (" + " + ".join(f"'a, {i}'" for i in range(2000)) + ")]",
        "-" * 3000 + "1",
        "not " * 2000 + "a",
        "1 if a else " * 1000 + "2",
        " and ".join(f"a{i}" for i in range(2000)),
    ],
    ids=[
        "sum",
        "lines",
        "calls",
        "calls with arguments",
        "texts with commas",
        "minus",
        "not",
        "conditional",
        "and",
    ],
)
def test_chain_of_operations_that_would_take_minutes_is_refused(expression):
    with pytest.raises(UserError, match=r"^a\.py:[0-9]+:[0-9]+: not read: an expression has over"):
        refuse_unreadable("import torch\nx = " + expression + "\n", "a.py")


def test_many_operations_side_by_side_are_no_chain():
    table = "{\n" + "".join(f"  'k{i}': torch.nn.f(-{i}.5 + 1),\n" for i in range(2000)) + "}"
    refuse_unreadable("x = " + table, "a.py")
    refuse_unreadable("x = 'a.b.c + d'\n" * 2000, "a.py")


def test_table_of_operations_is_told_from_a_chain_without_the_parser(monkeypatch):
    monkeypatch.setattr("convlint.sources._tallest_expression", lambda source: pytest.fail())
    refuse_unreadable("x = [\n" + "  torch.f(a.b - 1, k=-2.5),\n" * 2000 + "]", "a.py")
    refuse_unreadable("x = f(" + ", ".join(f"a{i} + b.c" for i in range(2000)) + ").g.h", "a.py")


def test_large_generated_file_is_refused_and_one_without_a_library_is_not(tmp_path):
    file = tmp_path / "table.py"
    file.write_text("x = [\n" + "1,\n" * 200_000 + "]\n")
    assert len(read_file(file)) > 500_000
    file.write_text("import torch\nx = [\n" + "1,\n" * 200_000 + "]\n")
    with pytest.raises(UserError, match=r"not read: 0\.6 MB"):
        read_file(file)


def test_utf_16_is_named():
    for encoding in ("utf-16-le", "utf-16-be"):
        data = "\ufeffimport torch\n".encode(encoding)
        assert mentions_ml_library(data)
        with pytest.raises(UserError, match="UTF-16"):
            decode(data, "a.py")
