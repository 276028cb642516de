"""The text of source files: reading, decoding, and what never reaches the parser."""

from __future__ import annotations

import codecs
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from convlint.errors import UserError
from convlint.lazy_regex import lazy_regex

if TYPE_CHECKING:
    import ast

_ML_LIBRARY = lazy_regex(
    rb"torch|lightning|sklearn|tensorflow|keras|transformers|accelerate|deepspeed|fastai"
    rb"|optax|flax|\bjax\b|haiku|diffusers|\btrl\b|skorch|xgboost|lightgbm|catboost|timm\b"
)
"""A file that names none of these holds nothing a rule speaks about, unless it calls what does."""

_STARTS_TRAINING = lazy_regex(
    rb"\b(?:\w*[Tt]rain\w*|fit|learn|run_epochs?)[ \t]*\(|import gym(?:nasium)?\b"
)
_IMPORT = lazy_regex(rb"(?m:^[ \t]*(?:from|import)[ \t])")

NOTEBOOK_SUFFIX = ".ipynb"

LARGEST_NOTEBOOK = 50_000_000
"""Bytes. Most of a notebook is output; its code has the limit of a file."""

LARGEST_FILE = 500_000
"""Bytes. Parsing takes about ten seconds a megabyte; what is larger was written by a program."""

_BRACKET_OR_OPERATION = lazy_regex(
    r"""'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|[()\[\]{},\n]|[-+.*/%@&|^~]"""
    r"""|\b(?:not|and|or|if|lambda|await)\b"""
)
"""Strings as a whole, so that nothing in them counts."""
DEEPEST_NESTING = 200
"""Python itself refuses brackets nested deeper; the parser would run out of stack."""
LONGEST_CHAIN = 500
"""Operations on top of one another in one expression (``a + b + ...``, ``x.f().g()...``): each is
a level of the syntax tree, and the parser's time grows with their square."""

_UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

_CODING = lazy_regex(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
_BLANK_OR_COMMENT = lazy_regex(rb"^[ \t\f]*(?:#|\r?$)")


def display_path(path: Path) -> str:
    """``path`` relative to the working directory when it lies below it, else absolute."""
    absolute = os.path.abspath(path)  # noqa: PTH100 - Path.absolute keeps ".." in the name
    here = os.getcwd()  # noqa: PTH109
    if absolute.startswith(here + os.sep):
        return absolute[len(here) + 1 :]
    return absolute


def without_working_directory(sentence: str) -> str:
    """``sentence`` with absolute paths below the working directory made relative."""
    return sentence.replace(os.getcwd() + os.sep, "")  # noqa: PTH109


def read_file(path: Path) -> bytes:
    """The bytes of ``path``.

    Raises:
        UserError: it cannot be read.
    """
    return read_with_status(path)[0]


def read_with_status(path: Path) -> tuple[bytes, os.stat_result]:
    """The bytes of ``path``, and what the file system said of it when they were read.

    Raises:
        UserError: it cannot be read.
    """
    shown = display_path(path)
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            data = file.read()
    except OSError as error:
        raise UserError(f"cannot read: {error.strerror or error}", path=shown) from None
    largest = LARGEST_NOTEBOOK if path.suffix == NOTEBOOK_SUFFIX else LARGEST_FILE
    if len(data) > largest and mentions_ml_library(data):
        raise UserError(
            f"not read: {len(data) / 1e6:.1f} MB, more than a person writes in one file"
            " (`exclude` in the configuration leaves it out)",
            path=shown,
        )
    return data, status


def mentions_ml_library(data: bytes) -> bool:
    """Whether a file names a library of the field: a search over its bytes, before it is parsed."""
    return _ML_LIBRARY.search(data) is not None or data.startswith(_UTF_16_MARKS)


def may_matter(data: bytes) -> bool:
    """Whether a file uses a library of the field, or calls what trains with one in other files.

    The script that starts a run often names nothing but modules of its own project.
    """
    return mentions_ml_library(data) or (
        _STARTS_TRAINING.search(data) is not None and _IMPORT.search(data) is not None
    )


def decode(data: bytes, path: str) -> str:
    """The text of a Python file: its byte-order mark, its coding line (PEP 263), or UTF-8.

    Line ends are kept as they are. Of a notebook it is that of all its code cells.

    Raises:
        UserError: the declared encoding does not exist or the bytes do not follow it; it is no
            notebook.
    """
    if path.endswith(NOTEBOOK_SUFFIX):
        from convlint.notebooks import Notebook

        return Notebook(data, path).text
    if data.startswith(_UTF_16_MARKS):
        raise UserError("cannot decode: it is UTF-16, which Python does not read", path=path)
    encoding, declared_on = declared_encoding(data, path)
    if data.startswith(codecs.BOM_UTF8):
        data = data[len(codecs.BOM_UTF8) :]
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        before = data[: error.start]
        raise UserError(
            f"cannot decode as {encoding}: byte 0x{data[error.start]:02x}"
            + ("" if declared_on else " (declare another encoding with `# -*- coding: ... -*-`)"),
            path=path,
            line=before.count(b"\n") + 1,
            column=error.start - (before.rfind(b"\n") + 1) + 1,
        ) from None
    nul = text.find("\0")
    if nul >= 0:
        raise UserError(
            "cannot parse: contains a NUL character", path=path, line=text.count("\n", 0, nul) + 1
        )
    return text


def refuse_unreadable(source: str, path: str) -> None:
    """Keep away from the parser what Python refuses and what would take it minutes.

    Raises:
        UserError: more than ``DEEPEST_NESTING`` brackets are open at once, or one expression has
            more than ``LONGEST_CHAIN`` operations on top of one another.
    """
    operations = 0
    # of each open bracket: the operations before it, and the most of any element so far
    opened: list[tuple[int, int]] = []
    judged_chains = False
    for match in _BRACKET_OR_OPERATION.finditer(source):
        token = match.group()
        if token[0] in "'\"":
            continue
        if token == "\n":
            operations = operations if opened else 0
        elif token == ",":
            # Elements stand side by side; what is done to all of them stands on the tallest.
            if opened:
                before, most = opened[-1]
                opened[-1] = before, max(most, operations)
                operations = before
        elif token in "([{":
            opened.append((operations, operations))
            if len(opened) > DEEPEST_NESTING:
                if _tallest_expression(source) is not None:
                    return
                raise UserError(
                    "cannot parse: too many nested parentheses", path=path, **_place(source, match)
                )
        elif token in ")]}":
            operations = max(opened.pop()[1], operations) if opened else operations
        else:
            operations += 1
            if operations > LONGEST_CHAIN and not judged_chains:
                # Only the tree tells for certain: text over several lines looks like code here.
                judged_chains = True
                if (_tallest_expression(source) or 0) > LONGEST_CHAIN:
                    raise UserError(
                        f"not read: an expression has over {LONGEST_CHAIN} operations in a row",
                        path=path,
                        **_place(source, match),
                    )


def _place(source: str, match: re.Match[str]) -> dict[str, int]:
    before = source[: match.start()]
    return {"line": before.count("\n") + 1, "column": match.start() - before.rfind("\n")}


def _tallest_expression(source: str) -> float | None:
    """Levels of the tallest expression, as Python sees it; None when it is no Python."""
    import ast

    try:
        return _height(ast.parse(source))
    except (SyntaxError, ValueError, MemoryError):
        return None
    except RecursionError:
        return float("inf")


def _height(tree: ast.AST) -> int:
    """Levels of the tallest expression, where ``a and b and c`` counts as many as it has parts."""
    import ast

    tallest = 0
    waiting: list[tuple[ast.AST, int]] = [(tree, 0)]
    while waiting:
        node, height = waiting.pop()
        if isinstance(node, ast.stmt):
            height = 0
        elif isinstance(node, ast.BoolOp):
            height += len(node.values)
        tallest = max(tallest, height)
        waiting += [(child, height + 1) for child in ast.iter_child_nodes(node)]
    return tallest


def declared_encoding(data: bytes, path: str) -> tuple[str, int | None]:
    """The encoding and the line that declares it (None when none does).

    Raises:
        UserError: the declared encoding does not exist or contradicts the byte-order mark.
    """
    has_mark = data.startswith(codecs.BOM_UTF8)
    body = data[len(codecs.BOM_UTF8) :] if has_mark else data
    for number, line in enumerate(body.split(b"\n", 2)[:2], start=1):
        match = _CODING.match(line)
        if match:
            name = match.group(1).decode("ascii", "replace")
            try:
                known = codecs.lookup(name)
                text_encoding = bool(getattr(known, "_is_text_encoding", True))
            except LookupError:
                text_encoding = False
            if not text_encoding:
                raise UserError(f"unknown encoding: {name}", path=path, line=number)
            if has_mark and known.name not in ("utf-8", "utf-8-sig"):
                raise UserError(
                    f"the byte-order mark says utf-8, the coding line {name}",
                    path=path,
                    line=number,
                )
            return known.name, number
        if not _BLANK_OR_COMMENT.match(line):
            break
    return "utf-8", None
