"""The statements of one file as they are written: their lines, blocks and the names in them."""

from __future__ import annotations

import ast
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from convlint.findings import Location

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.program.source_lines import SourceLines


class Statement(msgspec.Struct, frozen=True, eq=False, dict=True):
    """A statement as written.

    ``place`` is its own span; ``lines`` spans the whole lines it takes, when nothing else stands on
    them, else None. ``targets`` are the texts it assigns to, ``value`` the place of what it assigns
    or evaluates.
    """

    node: ast.stmt
    place: Location
    lines: Location | None
    indent: str
    block: int
    index: int
    parent: Statement | None
    function: Location | None
    """The innermost function it stands in."""
    targets: tuple[str, ...] = ()
    value: Location | None = None
    test: Location | None = None
    """What an ``if`` or ``while`` asks."""
    parameters: tuple[str, ...] = ()
    """The positional parameters of a function."""
    iterable: Location | None = None
    """What a ``for`` loop runs over."""
    body: list[Statement] = msgspec.field(default_factory=list)
    orelse: list[Statement] = msgspec.field(default_factory=list)

    @property
    def kind(self) -> str:
        """The class of its syntax node: ``Assign``, ``For`` ..."""
        return type(self.node).__name__

    @property
    def compound(self) -> bool:
        """Whether it holds other statements."""
        return bool(self.body)

    @cached_property
    def reads(self) -> frozenset[str]:
        """Plain names it reads."""
        return _names(self.node, reading=True)

    @cached_property
    def writes(self) -> frozenset[str]:
        """Plain names it assigns."""
        return _names(self.node, reading=False)

    @cached_property
    def loop_names(self) -> frozenset[str]:
        """Plain names a ``for`` loop assigns in its head."""
        if not isinstance(self.node, ast.For):
            return frozenset()
        return frozenset(n.id for n in ast.walk(self.node.target) if isinstance(n, ast.Name))

    @cached_property
    def movable(self) -> bool:
        """Whether its text may be indented anew: no string in it runs over several lines."""
        return not any(
            isinstance(n, (ast.Constant, ast.JoinedStr)) and n.lineno != n.end_lineno
            for n in ast.walk(self.node)
        )

    def around(self) -> Iterator[Statement]:
        """The statements it stands in, innermost first."""
        parent = self.parent
        while parent is not None:
            yield parent
            parent = parent.parent


def read_statements(tree: ast.Module, lines: SourceLines) -> list[Statement]:
    """Every statement of a file, outer ones before those in them."""
    found: list[Statement] = []
    _read_block(tree.body, None, None, lines, found)
    return found


def _read_block(
    block: list[ast.stmt],
    parent: Statement | None,
    function: Location | None,
    lines: SourceLines,
    found: list[Statement],
) -> list[Statement]:
    statements: list[Statement] = []
    for index, node in enumerate(block):
        statement = _read_statement(node, index, id(block), parent, function, lines)
        statements.append(statement)
        found.append(statement)
        inner = function
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            inner = statement.place
        body = getattr(node, "body", [])
        statement.body.extend(_read_block(body, statement, inner, lines, found))
        others = [getattr(node, name, []) for name in ("orelse", "finalbody")]
        others += [
            part.body for part in (*getattr(node, "handlers", ()), *getattr(node, "cases", ()))
        ]
        for other in others:
            statement.orelse.extend(_read_block(other, statement, inner, lines, found))
    return statements


def _read_statement(
    node: ast.stmt,
    index: int,
    block: int,
    parent: Statement | None,
    function: Location | None,
    lines: SourceLines,
) -> Statement:
    place = lines.place(node)
    first = min((d.lineno for d in getattr(node, "decorator_list", ())), default=place.line)
    text = lines.line(first)
    column = place.column if first == place.line else len(text) - len(text.lstrip()) + 1
    behind = lines.line(place.end_line)[place.end_column - 1 :].strip()
    alone = not text[: column - 1].strip() and (not behind or behind.startswith("#"))
    last = place.end_line
    end = (last + 1, 1) if lines.has_line_end(last) else (last, len(lines.line(last)) + 1)
    targets: list[ast.expr] = list(getattr(node, "targets", ()))
    if isinstance(node, (ast.AugAssign, ast.AnnAssign, ast.For)):
        targets.append(node.target)
    value = getattr(node, "value", None)
    return Statement(
        node=node,
        place=place,
        lines=Location(lines.path, first, 1, *end) if alone else None,
        indent=text[: column - 1] if alone else "",
        block=block,
        index=index,
        parent=parent,
        function=function,
        targets=tuple(lines.text(lines.place(target)) for target in targets),
        value=lines.place(value) if isinstance(value, ast.expr) else None,
        parameters=tuple(a.arg for a in (*node.args.posonlyargs, *node.args.args))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        else (),
        test=lines.place(node.test) if isinstance(node, (ast.If, ast.While)) else None,
        iterable=lines.place(node.iter) if isinstance(node, ast.For) else None,
    )


def _names(node: ast.stmt, *, reading: bool) -> frozenset[str]:
    return frozenset(
        n.id
        for n in ast.walk(node)
        if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load) is reading
    )
