"""Jupyter notebooks (formats 3 and 4) as one Python text, and back.

The code cells are joined, each behind a line that names it, so that places, edits and comments
work as in any other file. Lines that are not Python (magics, shell commands, requests for help)
become comments that hold them; changed text turns back into cells, and everything else in the
file, down to the way its JSON is written, stays as it is.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from itertools import pairwise
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import TYPE_CHECKING, NamedTuple

from convlint.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

SUFFIX = ".ipynb"

_OURS = "# ~convlint~"
_MARK = "# ~convlint~ cell {}\n"
_MARK_LINE = re.compile(r"^# ~convlint~ cell ([0-9]+)(?:\n|\Z)", re.MULTILINE)
_HIDDEN = "pass  # ~convlint~ "
_HIDDEN_REST = "# ~convlint~| "
"""Before a line that continues a hidden one."""
_HIDDEN_LINE = re.compile(r"^(?:([ \t]*)pass  # ~convlint~ |# ~convlint~\| )", re.MULTILINE)

_RUNS_PYTHON = frozenset({"time", "timeit", "capture", "prun", "python", "python3", "pypy"})
"""Cell magics whose cell is Python all the same."""

_NOT_PYTHON = re.compile(
    r"^[ \t]*(?:%%?[A-Za-z_]|[!?]|[\w.]+\?{1,2}[ \t]*$|[\w.,\[\] \t]+=[ \t]*(?:![^=]|%[a-zA-Z]))"
)

_BARE_MAGIC = re.compile(
    r"^(?:pip|conda|mamba|cd|ls|cat|cp|mv|rm|mkdir|matplotlib|load_ext|reload_ext|autoreload)"
    r"[ \t]+[\w./~-]",
    re.MULTILINE,
)
"""Magics that IPython also takes without their ``%``, written as commands."""

_PARSED_LINES = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
"""Lines as Python counts them, which also ends one at a carriage return alone."""

_LINES = re.compile(r"[^\n]*\n|[^\n]+")
_SPACE = re.compile(r"[ \t\r\n]*")
_raw_decode = json.JSONDecoder().raw_decode


class Cell(NamedTuple):
    """A code cell: its ``number`` among all cells, its ``source``, and where that is written."""

    number: int
    source: str
    start: int
    end: int


class Notebook:
    """``text`` is all its code; ``path`` is how it is shown."""

    def __init__(self, data: bytes, path: str) -> None:
        """Read the bytes of a file.

        Raises:
            UserError: it is no notebook, or none with Python in it that can be read.
        """
        self.path = path
        try:
            self._json = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise UserError(f"not a notebook: not UTF-8 ({error.reason})", path=path) from None
        self._bom = data.startswith(b"\xef\xbb\xbf")
        try:
            whole, _ = _raw_decode(self._json, _skip(self._json, 0))
            self._cells = list(_code_cells(self._json)) if _is_python(whole) else []
        except (ValueError, RecursionError, KeyError, TypeError, AttributeError, IndexError) as why:
            line = getattr(why, "lineno", None)
            said = getattr(why, "msg", "") or "its JSON has another shape"
            raise UserError(f"not a notebook: {said}", path=path, line=line) from None
        self.text = "".join(
            _MARK.format(cell.number) + python_of_cell(cell.source) for cell in self._cells
        )

    def refuse_unparsable(self) -> None:
        """Raises UserError, with its cell, for the first cell that is no Python."""
        for cell in self._cells:
            try:
                _parse(python_of_cell(cell.source))
            except SyntaxError as error:
                raise UserError(
                    f"cannot parse: {error.msg}",
                    path=f"{self.path}:cell {cell.number}",
                    line=error.lineno,
                    column=error.offset or 1,
                ) from None
            except (ValueError, RecursionError, MemoryError) as error:
                raise UserError(
                    f"cannot parse: {error or 'nested too deeply'}",
                    path=f"{self.path}:cell {cell.number}",
                ) from None

    def encode(self, text: str) -> bytes:
        """The whole file once its code is ``text``.

        Raises:
            UserError: the lines that name the cells are not all there any more.
        """
        changed = dict(_split(text))
        if sorted(changed) != [cell.number for cell in self._cells]:
            raise UserError("not changed: its cells cannot be told apart", path=self.path)
        parts: list[str] = []
        written = 0
        for cell in self._cells:
            source = _HIDDEN_LINE.sub(lambda m: m.group(1) or "", changed[cell.number])
            if not cell.source.endswith("\n"):
                source = source.removesuffix("\n")
            if source != cell.source:
                parts += [self._json[written : cell.start], self._literal(cell, source)]
                written = cell.end
        encoded = "".join((*parts, self._json[written:])).encode()
        return b"\xef\xbb\xbf" + encoded if self._bom else encoded

    def _literal(self, cell: Cell, source: str) -> str:
        """``source`` written the way that of ``cell`` is."""
        was = self._json[cell.start : cell.end]
        only_ascii = self._json.isascii()
        if not was.startswith("["):
            return json.dumps(source, ensure_ascii=only_ascii)
        literals, before, between, after = _elements(was)
        kept = {scanstring(literal, 1)[0]: literal for literal in literals}
        lines = _LINES.findall(source)
        written = [kept.get(line) or json.dumps(line, ensure_ascii=only_ascii) for line in lines]
        return f"[{before}{between.join(written)}{after}]" if written else "[]"


def cell_starts(text: str) -> list[tuple[int, int]]:
    """For each cell of a notebook's text, the line that names it and the number of the cell."""
    return [
        (number, int(match.group(1)))
        for number, line in enumerate(_PARSED_LINES.findall(text), start=1)
        if (match := _MARK_LINE.match(line))
    ]


def only_cell(text: str, wanted: int) -> str:
    """``text`` with what other cells than ``wanted`` do at their top level left out.

    What they define and assign stays. Cells are run many times and in any order, so that what
    happens in one says nothing of when it happened for another. Every line keeps its number.
    """
    kept = _PARSED_LINES.findall(text)
    starts = [*cell_starts(text), (len(kept) + 1, 0)]
    for (first, number), (end, _) in pairwise(starts):
        if number == wanted:
            continue
        try:
            body = _parse("".join(kept[first : end - 1])).body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        stays = {
            line
            for statement in body
            if isinstance(statement, _DEFINING)
            for line in range(_first_line(statement), (statement.end_lineno or 0) + 1)
        }
        for statement in body:
            for line in range(_first_line(statement), (statement.end_lineno or 0) + 1):
                if line not in stays:
                    kept[first + line - 1] = _line_end(kept[first + line - 1])
    return "".join(kept)


def _line_end(line: str) -> str:
    return line[len(line.rstrip("\r\n")) :]


_DEFINING = (
    ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign,
    ast.AnnAssign,
)  # fmt: skip


def _first_line(statement: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    first: int = statement.lineno
    return min([first, *(decorator.lineno for decorator in decorators)])


def _parse(source: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(source)


def python_of_cell(source: str) -> str:
    """The source of a cell as Python, with a line end."""
    text = source if source.endswith("\n") or not source else source + "\n"
    if not _may_hold_magic(text):
        return text
    try:
        _parse(text)
    except SyntaxError:
        return "".join(_hidden_lines(text))
    except (ValueError, RecursionError, MemoryError):
        pass
    return text


def _may_hold_magic(text: str) -> bool:
    return any(mark in text for mark in "%!?") or _BARE_MAGIC.search(text) is not None


def _hidden_lines(text: str) -> Iterator[str]:
    first = next((line for line in text.splitlines() if line.strip()), "")
    magic = first.lstrip().removeprefix("%%") if first.lstrip().startswith("%%") else None
    name = re.match(r"\w*", magic).group() if magic is not None else ""  # type: ignore[union-attr]
    whole = magic is not None and name not in _RUNS_PYTHON
    continued = False
    for line in _LINES.findall(text):
        hidden = whole or continued or _is_magic(line)
        rest, continued = continued, hidden and line.rstrip("\r\n").endswith("\\")
        if rest:
            yield _HIDDEN_REST + line
        elif hidden and line.strip():
            indent = "" if whole else line[: len(line) - len(line.lstrip(" \t"))]
            yield f"{indent}{_HIDDEN}{line[len(indent) :]}"
        else:
            yield line


def _is_magic(line: str) -> bool:
    return _NOT_PYTHON.match(line) is not None or _BARE_MAGIC.match(line) is not None


def _split(text: str) -> Iterator[tuple[int, str]]:
    """The cells of changed text; what was put above the first of them belongs to it."""
    marks = list(_MARK_LINE.finditer(text))
    above = text[: marks[0].start()] if marks else ""
    for mark, following in zip(marks, [*marks[1:], None], strict=False):
        end = len(text) if following is None else following.start()
        yield int(mark.group(1)), above + text[mark.end() : end]
        above = ""


def _is_python(whole: object) -> bool:
    """Whether the kernel is Python, or not said."""
    if not isinstance(whole, dict):
        raise TypeError
    if "cells" not in whole and "worksheets" not in whole:
        raise KeyError("cells")
    metadata = whole.get("metadata", {})
    language = metadata.get("kernelspec", {}).get("language") or metadata.get(
        "language_info", {}
    ).get("name", "python")
    return str(language).lower() in ("python", "ipython", "python3")


def _code_cells(text: str) -> Iterator[Cell]:
    number = 0
    for key, start, _ in _members(text, _skip(text, 0)):
        if key == "cells":
            lists = [start]
        elif key == "worksheets":
            lists = [
                place
                for sheet, _ in _items(text, start)
                for name, place, _ in _members(text, sheet)
                if name == "cells"
            ]
        else:
            continue
        for place in lists:
            for cell, _ in _items(text, place):
                number += 1
                found = _code_cell(text, cell, number)
                if found is not None:
                    yield found


def _code_cell(text: str, place: int, number: int) -> Cell | None:
    kind, source, language = "", None, "python"
    for key, start, end in _members(text, place):
        if key == "cell_type":
            kind = _raw_decode(text, start)[0]
        elif key == "language":
            language = _raw_decode(text, start)[0]
        elif key in ("source", "input"):
            value = _raw_decode(text, start)[0]
            source = Cell(number, value if isinstance(value, str) else "".join(value), start, end)
    if source is None or "\0" in source.source or _OURS in source.source:
        return None
    return source if kind == "code" and str(language).lower() == "python" else None


def _members(text: str, place: int) -> Iterator[tuple[str, int, int]]:
    """Each key of the object at ``place`` with where its value starts and ends."""
    place = _expect(text, place, "{")
    while text[place] != "}":
        key, place = scanstring(text, _expect(text, place, '"'))
        start = _skip(text, _expect(text, _skip(text, place), ":"))
        _, end = _raw_decode(text, start)
        yield key, start, end
        place = _skip(text, end)
        if text[place] == ",":
            place = _skip(text, place + 1)


def _items(text: str, place: int) -> Iterator[tuple[int, int]]:
    """Where each element of the array at ``place`` starts and ends."""
    place = _skip(text, _expect(text, place, "["))
    while text[place] != "]":
        _, end = _raw_decode(text, place)
        yield place, end
        place = _skip(text, end)
        if text[place] == ",":
            place = _skip(text, place + 1)


def _elements(array: str) -> tuple[list[str], str, str, str]:
    """The literals of an array, and the space before, between and after them."""
    spans = list(_items(array, 0))
    if not spans:
        return [], "", ", ", ""
    before = array[1 : spans[0][0]]
    between = array[spans[0][1] : spans[1][0]] if len(spans) > 1 else f",{before or ' '}"
    return [array[a:b] for a, b in spans], before, between, array[spans[-1][1] : -1]


def _skip(text: str, place: int) -> int:
    space = _SPACE.match(text, place)
    return place if space is None else space.end()


def _expect(text: str, place: int, character: str) -> int:
    if text[place] != character:
        raise ValueError
    return _skip(text, place + 1) if character == "{" else place + 1
