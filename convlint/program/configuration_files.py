"""YAML, JSON and TOML files of the project, with the line of every value."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import msgspec

from convlint.lazy_regex import lazy_regex

if TYPE_CHECKING:
    from pathlib import Path

    from convlint.program.facts import Scalar

SUFFIXES = frozenset({".yaml", ".yml", ".json", ".toml"})

LARGEST_CONFIGURATION = 200_000
"""Bytes; what is larger is data."""


class Leaf(msgspec.Struct, frozen=True):
    """A value that is no table and no list; ``known`` is false for dates and the like.

    ``line`` and ``column`` count from 1; 0 when the place is not known.
    """

    value: Scalar
    line: int = 0
    column: int = 0
    end_column: int = 0
    known: bool = True


Entry = dict[str, "Entry"] | list["Entry"] | Leaf


class Configuration(msgspec.Struct, frozen=True):
    """One file: its path as messages show it, its content, and the comments at its beginning."""

    path: str
    content: Entry
    head: str


def read_configuration(data: bytes, file: Path, shown: str) -> Configuration | None:
    """The content of a file; None when it cannot be parsed."""
    try:
        text = data.decode("utf-8-sig")
        content: Entry | None
        if file.suffix == ".json":
            content = read_json(text)
        elif file.suffix == ".toml":
            content = _read_toml(text)
        else:
            content = read_yaml(text)
    except (ValueError, SyntaxError, RecursionError):
        return None
    head = text[: len(text) - len(re.sub(r"^(?:[ \t]*(?:#.*)?\r?\n)+", "", text))]
    return Configuration(shown, content, head) if content is not None else None


def read_yaml(text: str) -> Entry | None:
    """The first document of a YAML text. Raises ValueError when it is none."""
    import yaml

    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        return _from_yaml(loader, node, 0) if node is not None else None
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


_DEEPEST = 30
"""Anchors can make a document contain itself."""


def _from_yaml(loader: object, node: object, depth: int) -> Entry:
    import yaml

    assert isinstance(loader, yaml.SafeLoader)
    if depth > _DEEPEST:
        raise ValueError("nested too deeply")
    if isinstance(node, yaml.MappingNode):
        loader.flatten_mapping(node)
        return {
            str(loader.construct_object(key)): _from_yaml(loader, value, depth + 1)
            for key, value in node.value
            if isinstance(key, yaml.ScalarNode)
        }
    if isinstance(node, yaml.SequenceNode):
        return [_from_yaml(loader, item, depth + 1) for item in node.value]
    assert isinstance(node, yaml.ScalarNode)
    value = loader.construct_object(node)
    start, end = node.start_mark, node.end_mark
    known = value is None or isinstance(value, (bool, int, float, str))
    last = end.column if end.line == start.line else start.column
    return Leaf(value if known else None, start.line + 1, start.column + 1, last + 1, known)


_JSON_NAMES = {"true": True, "false": False, "null": None}


def read_json(text: str) -> Entry:
    """A JSON text. Raises SyntaxError or ValueError when it is none.

    But for three names JSON is written like Python, whose parser tells the lines as well.
    """
    return _from_json(ast.parse(f"({text})", mode="eval").body)


def _from_json(node: ast.expr) -> Entry:
    if isinstance(node, ast.Dict):
        return {
            str(key.value): _from_json(value)
            for key, value in zip(node.keys, node.values, strict=True)
            if isinstance(key, ast.Constant)
        }
    if isinstance(node, ast.List):
        return [_from_json(item) for item in node.elts]
    negative = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
    inner = node.operand if isinstance(node, ast.UnaryOp) else node
    value: object = None
    known = True
    if isinstance(inner, ast.Constant):
        value = inner.value
    elif isinstance(inner, ast.Name) and inner.id in _JSON_NAMES:
        value = _JSON_NAMES[inner.id]
    else:
        known = False
    if not (value is None or isinstance(value, (bool, int, float, str))):
        value, known = None, False
    if negative and isinstance(value, (int, float)):
        value = -value
    # the parenthesis put before the text moves its first line
    shift = 0 if node.lineno == 1 else 1
    return Leaf(
        value, node.lineno, node.col_offset + shift, (node.end_col_offset or 0) + shift, known
    )


_TOML_TABLE = lazy_regex(r"^\s*\[\[?\s*([^\]#]+?)\s*\]")
_TOML_KEY = lazy_regex(r"^\s*([\w.\-\"' ]+?)\s*=\s*")


def _read_toml(text: str) -> Entry:
    """A TOML text. ``tomllib`` knows no lines, so keys are looked up in the text."""
    import tomllib

    lines: dict[tuple[str, ...], tuple[int, int, int]] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _TOML_TABLE.match(line):
            table = _parts(header[1])
        elif key := _TOML_KEY.match(line):
            place = (number, key.end() + 1, len(line.rstrip()) + 1)
            lines.setdefault((*table, *_parts(key[1])), place)
    return _from_toml(tomllib.loads(text), (), lines)


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


def _from_toml(
    value: object, at: tuple[str, ...], lines: dict[tuple[str, ...], tuple[int, int, int]]
) -> Entry:
    if isinstance(value, dict):
        return {str(key): _from_toml(item, (*at, str(key)), lines) for key, item in value.items()}
    if isinstance(value, list):
        return [_from_toml(item, at, lines) for item in value]
    if isinstance(value, (bool, int, float, str)):
        return Leaf(value, *lines.get(at, (0, 0, 0)))
    return Leaf(None, known=False)
