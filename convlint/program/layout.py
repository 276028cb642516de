"""What stands where in one file: the text around the places that facts name.

Facts say what a program does; whoever changes it must also know how it is written: where a call's
arguments stand, which statement a call belongs to, how its block is indented. A ``Layout`` answers
such questions by place, and answers None where the place is not what is asked for. It is made only
for files in which something was found.
"""

from __future__ import annotations

import ast
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from convlint.findings import Location
from convlint.program.source_lines import SourceLines
from convlint.program.written_names import WrittenNames
from convlint.program.written_statements import Statement, read_statements

if TYPE_CHECKING:
    pass


class Argument(NamedTuple):
    """One argument of a call as written: ``lr=0.1`` has the name ``lr`` and the value ``0.1``.

    Positional arguments have the name None, starred ones ``*`` and ``**``.
    """

    name: str | None
    whole: Location
    value: Location
    text: str


class CallLayout(msgspec.Struct, frozen=True):
    """A call as written: ``callee(arguments)``; ``receiver`` and ``method`` of ``a.b(...)``."""

    place: Location
    callee: Location
    callee_text: str
    arguments: tuple[Argument, ...]
    receiver: Location | None = None
    receiver_text: str = ""
    method: str = ""

    def argument(self, name: str, position: int | None = None) -> Argument | None:
        """The argument given under ``name``, or as the ``position``-th (from 0) before any star."""
        for index, argument in enumerate(self.arguments):
            if argument.name == name:
                return argument
            if position is not None and index == position and argument.name is None:
                starred = any(a.name == "*" for a in self.arguments[:index])
                return None if starred else argument
        return None

    @property
    def open_ended(self) -> bool:
        """Whether ``*`` or ``**`` bring arguments that are not written out."""
        return any(argument.name in ("*", "**") for argument in self.arguments)


_NO_CALL = CallLayout(Location("", 1, 1, 1, 1), Location("", 1, 1, 1, 1), "", ())


class Layout(SourceLines):
    """The text of one file, by place."""

    def __init__(self, path: str, source: str, tree: ast.Module) -> None:
        super().__init__(path, source)
        self._tree = tree
        self._nodes = [
            node
            for node in ast.walk(tree)
            if isinstance(node, (ast.expr, ast.stmt, ast.keyword, ast.arg))
        ]
        self._by_line: dict[int, list[ast.AST]] = {}
        for node in self._nodes:
            self._by_line.setdefault(node.lineno, []).append(node)

    @cached_property
    def _statements(self) -> list[Statement]:
        return read_statements(self._tree, self)

    @cached_property
    def names(self) -> WrittenNames:
        """The names the file binds."""
        return WrittenNames(self._tree, self._nodes)

    def call(self, place: Location | None) -> CallLayout | None:
        """The call that takes exactly ``place``."""
        node = self._node(place, ast.Call)
        if not isinstance(node, ast.Call):
            return None
        given: list[ast.expr | ast.keyword] = [*node.args, *node.keywords]
        arguments = [self._argument(argument) for argument in given]
        arguments.sort(key=lambda argument: argument.whole)
        callee = self.place(node.func)
        receiver = self.place(node.func.value) if isinstance(node.func, ast.Attribute) else None
        return CallLayout(
            place=self.place(node),
            callee=callee,
            callee_text=self.text(callee),
            arguments=tuple(arguments),
            receiver=receiver,
            receiver_text="" if receiver is None else self.text(receiver),
            method=node.func.attr if isinstance(node.func, ast.Attribute) else "",
        )

    def calls_in(self, place: Location) -> list[CallLayout]:
        """Every call inside ``place``, in order of their start."""
        found = [
            self.call(self.place(node))
            for node in self._nodes
            if isinstance(node, ast.Call) and _within(self.place(node), place)
        ]
        return sorted((c for c in found if c is not None), key=lambda call: call.place)

    def expression(self, place: Location | None) -> str | None:
        """The text of the expression that takes exactly ``place``."""
        node = self._node(place, ast.expr)
        return None if node is None or place is None else self.text(place)

    def binary(self, place: Location | None) -> tuple[Location, str, Location] | None:
        """Left side, operator class (``Add``, ``Div``, ``Eq`` ...) and right side."""
        node = self._node(place, ast.expr)
        if isinstance(node, ast.BinOp):
            return self.place(node.left), type(node.op).__name__, self.place(node.right)
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            operator = type(node.ops[0]).__name__
            return self.place(node.left), operator, self.place(node.comparators[0])
        return None

    def statement(self, place: Location | None) -> Statement | None:
        """The innermost statement around the start of ``place``."""
        if place is None or place.path != self.path:
            return None
        found: Statement | None = None
        for statement in self._statements:
            if _starts_within(place, statement.place) and (
                found is None or _within(statement.place, found.place)
            ):
                found = statement
        return found

    def compound(self, place: Location | None, *kinds: str) -> Statement | None:
        """The loop, function, ``with`` or ``if`` that starts at ``place``."""
        if place is None or place.path != self.path:
            return None
        for statement in self._statements:
            start = (statement.place.line, statement.place.column)
            if statement.compound and start == (place.line, place.column):
                return statement if not kinds or statement.kind in kinds else None
        return None

    def siblings(self, statement: Statement) -> list[Statement]:
        """The statements of its block, in order."""
        return [other for other in self._statements if other.block == statement.block]

    def all_statements(self) -> list[Statement]:
        """Every statement of the file."""
        return list(self._statements)

    def statements_in(self, place: Location) -> list[Statement]:
        """Every statement inside ``place``, outer ones first."""
        return [s for s in self._statements if _within(s.place, place)]

    def indent_in(self, compound: Statement) -> str:
        """How the body of a compound statement is indented."""
        return compound.body[0].indent

    def is_comment(self, line: int) -> bool:
        """Whether a line holds a comment and nothing else."""
        return self.line(line).lstrip().startswith("#")

    def is_atom(self, place: Location) -> bool:
        """Whether an expression needs no parentheses to be followed by ``.method()``."""
        node = self._node(place, ast.expr)
        return isinstance(
            node, (ast.Name, ast.Attribute, ast.Call, ast.Subscript, ast.List, ast.Dict)
        )

    def is_name(self, place: Location | None) -> bool:
        """Whether a place holds a plain name."""
        return isinstance(self._node(place, ast.expr), ast.Name)

    def elements(self, place: Location | None) -> list[Location]:
        """The elements of the list or tuple that takes exactly ``place``."""
        node = self._node(place, ast.expr)
        if not isinstance(node, (ast.List, ast.Tuple)):
            return []
        return [self.place(element) for element in node.elts]

    def is_generator(self, place: Location | None) -> bool:
        """Whether a place holds a generator expression."""
        return isinstance(self._node(place, ast.expr), ast.GeneratorExp)

    def lambdas_in(self, place: Location) -> list[tuple[Location | None, frozenset[str]]]:
        """Every lambda inside ``place``: its last parameter (None without) and the names it reads."""
        found: list[tuple[Location | None, frozenset[str]]] = []
        for node in self._nodes:
            if not isinstance(node, ast.Lambda) or not _within(self.place(node), place):
                continue
            plain = not (node.args.vararg or node.args.kwarg or node.args.kwonlyargs)
            plain = plain and not node.args.defaults
            last = self.place(node.args.args[-1]) if node.args.args and plain else None
            names = {n.id for n in ast.walk(node.body) if isinstance(n, ast.Name)}
            found.append((last, frozenset(names - {a.arg for a in node.args.args})))
        return found

    def siblings_of(self, place: Location | None) -> tuple[list[Location], int] | None:
        """The arguments or elements of the call or list that ``place`` is one of, and which."""
        if place is None or place.path != self.path:
            return None
        for node in self._nodes:
            if isinstance(node, ast.Call):
                parts = [a.whole for a in (self.call(self.place(node)) or _NO_CALL).arguments]
            elif isinstance(node, (ast.List, ast.Tuple)):
                parts = [self.place(element) for element in node.elts]
            else:
                continue
            if place in parts:
                return parts, parts.index(place)
        return None

    def around(self, place: Location | None) -> CallLayout | None:
        """The innermost call of which ``place`` is an argument."""
        found = self.siblings_of(place)
        if found is None:
            return None
        for node in self._nodes:
            call = self.call(self.place(node)) if isinstance(node, ast.Call) else None
            if call is not None and any(a.whole == place for a in call.arguments):
                return call
        return None

    def is_path_of_names(self, text: str) -> bool:
        """Whether a text is a name or names joined by dots: reading it again changes nothing."""
        return all(part.isidentifier() for part in text.split("."))

    def literal(self, place: Location | None) -> bool:
        """Whether a place holds a constant as written, a sign in front allowed."""
        node = self._node(place, ast.expr)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            node = node.operand
        return isinstance(node, ast.Constant)

    def parenthesised(self, place: Location) -> bool:
        """Whether an opening bracket stands directly before ``place`` and a closing one behind."""
        before = self.line(place.line)[: place.column - 1].rstrip()
        behind = self.line(place.end_line)[place.end_column - 1 :].lstrip()
        return before.endswith("(") and behind.startswith(")")

    @property
    def last_import(self) -> Statement | None:
        """The last import of the file's first block of imports."""
        last: ast.stmt | None = None
        for node in self._tree.body:
            is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                last = node
            elif not is_text:
                break
        return None if last is None else self.statement(self.place(last))

    def reads_of(self, name: str) -> int:
        """How often the file reads a plain name."""
        return sum(
            isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load)
            for node in self._nodes
        )

    def _node(self, place: Location | None, kind: type[ast.AST]) -> ast.AST | None:
        if place is None or place.path != self.path:
            return None
        span = (place.line, place.column, place.end_line, place.end_column)
        for node in self._by_line.get(place.line, ()):
            if isinstance(node, kind) and self.span(node) == span:
                return node
        return None

    def _argument(self, node: ast.expr | ast.keyword) -> Argument:
        if isinstance(node, ast.keyword):
            value = self.place(node.value)
            return Argument(node.arg or "**", self.place(node), value, self.text(value))
        if isinstance(node, ast.Starred):
            value = self.place(node.value)
            return Argument("*", self.place(node), value, self.text(value))
        place = self.place(node)
        return Argument(None, place, place, self.text(place))


def _within(inner: Location, outer: Location) -> bool:
    return (outer.line, outer.column) <= (inner.line, inner.column) and (
        inner.end_line,
        inner.end_column,
    ) <= (outer.end_line, outer.end_column)


def _starts_within(place: Location, outer: Location) -> bool:
    start = (place.line, place.column)
    return (outer.line, outer.column) <= start < (outer.end_line, outer.end_column)
