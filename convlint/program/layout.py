"""What stands where in one file: the text around the places that facts name.

Facts say what a program does; whoever changes it must also know how it is written: where a call's
arguments stand, which statement a call belongs to, how its block is indented. A ``Layout`` answers
such questions by place, and answers None where the place is not what is asked for. It is made only
for files in which something was found.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from convlint.findings import Location

if TYPE_CHECKING:
    from collections.abc import Iterator

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")

Span = tuple[int, int, int, int]
"""First line, first column, last line, column behind the end; all from 1."""


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


class Statement(msgspec.Struct, frozen=True, eq=False):
    """A statement as written.

    ``place`` is its own span; ``lines`` spans the whole lines it takes, when nothing else stands on
    them, else None. ``header_end`` is the line its header ends in, for compound statements.
    ``targets`` are the texts it assigns to, ``value`` the place of what it assigns or evaluates.
    """

    kind: str
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
    reads: frozenset[str] = frozenset()
    """Plain names it reads."""
    writes: frozenset[str] = frozenset()
    """Plain names it assigns."""
    loop_names: frozenset[str] = frozenset()
    """Plain names a ``for`` loop assigns in its head."""
    movable: bool = True
    """Whether its text may be indented anew: no string in it runs over several lines."""
    body: list[Statement] = msgspec.field(default_factory=list)
    orelse: list[Statement] = msgspec.field(default_factory=list)

    @property
    def compound(self) -> bool:
        """Whether it holds other statements."""
        return bool(self.body)

    def around(self) -> Iterator[Statement]:
        """The statements it stands in, innermost first."""
        parent = self.parent
        while parent is not None:
            yield parent
            parent = parent.parent


class Layout:
    """The text of one file, by place."""

    def __init__(self, path: str, source: str) -> None:
        self.path = path
        self.source = source
        self._lines = _LINE.findall(source)
        self._nodes: dict[Span, list[ast.AST]] = {}
        self._statements: list[Statement] = []
        self._imports: dict[str, str] = {}
        self._bound: set[str] = set()
        self._last_import: Statement | None = None
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return
        for node in ast.walk(tree):
            if isinstance(node, (ast.expr, ast.stmt, ast.keyword, ast.arg)):
                self._nodes.setdefault(self._span(node), []).append(node)
        self._read_block(tree.body, None, None)
        self._read_imports(tree)

    def text(self, place: Location) -> str:
        """The source between two places; empty where the file has none."""
        if place.line == place.end_line:
            return self._line(place.line)[place.column - 1 : place.end_column - 1]
        parts = [self._line(place.line)[place.column - 1 :]]
        parts += [self._line(number) for number in range(place.line + 1, place.end_line)]
        parts.append(self._line(place.end_line)[: place.end_column - 1])
        return "".join(parts).replace("\r\n", "\n").replace("\r", "\n")

    def call(self, place: Location | None) -> CallLayout | None:
        """The call that takes exactly ``place``."""
        node = self._node(place, ast.Call)
        if not isinstance(node, ast.Call):
            return None
        given: list[ast.expr | ast.keyword] = [*node.args, *node.keywords]
        arguments = [self._argument(argument) for argument in given]
        arguments.sort(key=lambda argument: argument.whole)
        callee = self._place(node.func)
        receiver = self._place(node.func.value) if isinstance(node.func, ast.Attribute) else None
        return CallLayout(
            place=self._place(node),
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
            self.call(self._place(node))
            for nodes in self._nodes.values()
            for node in nodes
            if isinstance(node, ast.Call) and _within(self._place(node), place)
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
            return self._place(node.left), type(node.op).__name__, self._place(node.right)
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            operator = type(node.ops[0]).__name__
            return self._place(node.left), operator, self._place(node.comparators[0])
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
        return self._line(line).lstrip().startswith("#")

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
        return [self._place(element) for element in node.elts]

    def is_generator(self, place: Location | None) -> bool:
        """Whether a place holds a generator expression."""
        return isinstance(self._node(place, ast.expr), ast.GeneratorExp)

    def lambdas_in(self, place: Location) -> list[tuple[Location | None, frozenset[str]]]:
        """Every lambda inside ``place``: its last parameter (None without) and the names it reads."""
        found: list[tuple[Location | None, frozenset[str]]] = []
        for nodes in self._nodes.values():
            for node in nodes:
                if not isinstance(node, ast.Lambda) or not _within(self._place(node), place):
                    continue
                plain = not (node.args.vararg or node.args.kwarg or node.args.kwonlyargs)
                plain = plain and not node.args.defaults
                last = self._place(node.args.args[-1]) if node.args.args and plain else None
                names = {n.id for n in ast.walk(node.body) if isinstance(n, ast.Name)}
                found.append((last, frozenset(names - {a.arg for a in node.args.args})))
        return found

    def siblings_of(self, place: Location | None) -> tuple[list[Location], int] | None:
        """The arguments or elements of the call or list that ``place`` is one of, and which."""
        if place is None or place.path != self.path:
            return None
        for nodes in self._nodes.values():
            for node in nodes:
                if isinstance(node, ast.Call):
                    parts = [a.whole for a in (self.call(self._place(node)) or _NO_CALL).arguments]
                elif isinstance(node, (ast.List, ast.Tuple)):
                    parts = [self._place(element) for element in node.elts]
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
        for nodes in self._nodes.values():
            for node in nodes:
                call = self.call(self._place(node)) if isinstance(node, ast.Call) else None
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
        before = self._line(place.line)[: place.column - 1].rstrip()
        behind = self._line(place.end_line)[place.end_column - 1 :].lstrip()
        return before.endswith("(") and behind.startswith(")")

    def name_of(self, qualified: str) -> str | None:
        """How the file's module-level imports name something: ``torch.nn.functional`` -> ``F``.

        None when no import reaches it, or the name is bound again somewhere in the file.
        """
        best: str | None = None
        for name, target in self._imports.items():
            if name in self._bound:
                continue
            if qualified == target:
                text = name
            elif qualified.startswith(target + "."):
                text = name + qualified[len(target) :]
            else:
                continue
            if best is None or len(text) < len(best):
                best = text
        return best

    def qualified(self, text: str) -> str | None:
        """What a dotted name stands for by the module-level imports: the inverse of ``name_of``."""
        head, _, rest = text.partition(".")
        if head in self._bound or head not in self._imports:
            return None
        return self._imports[head] + (f".{rest}" if rest else "")

    @property
    def last_import(self) -> Statement | None:
        """The last import of the file's first block of imports."""
        return self._last_import

    def reads_of(self, name: str) -> int:
        """How often the file reads a plain name."""
        return sum(
            isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load)
            for nodes in self._nodes.values()
            for node in nodes
        )

    def binds(self, name: str) -> bool:
        """Whether the file binds ``name`` anywhere, by import or otherwise."""
        return name in self._bound or name in self._imports

    def next_line(self, line: int) -> str:
        """The text of the line after ``line``, or empty."""
        return self._line(line + 1)

    def line_text(self, line: int) -> str:
        """The text of a line without its end."""
        return self._line(line).rstrip("\r\n")

    def has_line_end(self, line: int) -> bool:
        """Whether a line ends with a line end (the last one may not)."""
        return self._line(line).endswith(("\r", "\n"))

    def _line(self, number: int) -> str:
        return self._lines[number - 1] if 1 <= number <= len(self._lines) else ""

    def _span(self, node: ast.AST) -> Span:
        line, end = node.lineno, node.end_lineno  # type: ignore[attr-defined]
        return (
            line,
            self._column(line, node.col_offset),  # type: ignore[attr-defined]
            end,
            self._column(end, node.end_col_offset),  # type: ignore[attr-defined]
        )

    def _column(self, line: int, offset: int) -> int:
        """Columns in characters, from the byte offsets of ``ast``."""
        text = self._line(line)
        if text.isascii():
            return offset + 1
        return len(text.encode()[:offset].decode(errors="replace")) + 1

    def _place(self, node: ast.AST) -> Location:
        return Location(self.path, *self._span(node))

    def _node(self, place: Location | None, kind: type[ast.AST]) -> ast.AST | None:
        if place is None or place.path != self.path:
            return None
        span = (place.line, place.column, place.end_line, place.end_column)
        for node in self._nodes.get(span, ()):
            if isinstance(node, kind):
                return node
        return None

    def _argument(self, node: ast.expr | ast.keyword) -> Argument:
        if isinstance(node, ast.keyword):
            value = self._place(node.value)
            return Argument(node.arg or "**", self._place(node), value, self.text(value))
        if isinstance(node, ast.Starred):
            value = self._place(node.value)
            return Argument("*", self._place(node), value, self.text(value))
        place = self._place(node)
        return Argument(None, place, place, self.text(place))

    def _read_block(
        self, block: list[ast.stmt], parent: Statement | None, function: Location | None
    ) -> list[Statement]:
        statements: list[Statement] = []
        for index, node in enumerate(block):
            statement = self._read_statement(node, index, id(block), parent, function)
            statements.append(statement)
            self._statements.append(statement)
            inner = function
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                inner = statement.place
            statement.body.extend(self._read_block(getattr(node, "body", []), statement, inner))
            for name in ("orelse", "finalbody"):
                statement.orelse.extend(self._read_block(getattr(node, name, []), statement, inner))
            for part in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
                statement.orelse.extend(self._read_block(part.body, statement, inner))
        return statements

    def _read_statement(
        self,
        node: ast.stmt,
        index: int,
        block: int,
        parent: Statement | None,
        function: Location | None,
    ) -> Statement:
        place = self._place(node)
        first = min((d.lineno for d in getattr(node, "decorator_list", ())), default=place.line)
        text = self._line(first)
        column = place.column if first == place.line else len(text) - len(text.lstrip()) + 1
        behind = self._line(place.end_line)[place.end_column - 1 :].strip()
        alone = not text[: column - 1].strip() and (not behind or behind.startswith("#"))
        last = place.end_line
        end = (last + 1, 1) if self.has_line_end(last) else (last, len(self._line(last)) + 1)
        targets: list[ast.expr] = list(getattr(node, "targets", ()))
        if isinstance(node, (ast.AugAssign, ast.AnnAssign, ast.For)):
            targets.append(node.target)
        value = getattr(node, "value", None)
        names = [n for n in ast.walk(node) if isinstance(n, ast.Name)]
        return Statement(
            kind=type(node).__name__,
            place=place,
            lines=Location(self.path, first, 1, *end) if alone else None,
            indent=text[: column - 1] if alone else "",
            block=block,
            index=index,
            parent=parent,
            function=function,
            targets=tuple(self.text(self._place(target)) for target in targets),
            value=self._place(value) if isinstance(value, ast.expr) else None,
            parameters=tuple(a.arg for a in (*node.args.posonlyargs, *node.args.args))
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            else (),
            test=self._place(node.test) if isinstance(node, (ast.If, ast.While)) else None,
            iterable=self._place(node.iter) if isinstance(node, ast.For) else None,
            reads=frozenset(n.id for n in names if isinstance(n.ctx, ast.Load)),
            writes=frozenset(n.id for n in names if not isinstance(n.ctx, ast.Load)),
            loop_names=frozenset(n.id for n in ast.walk(node.target) if isinstance(n, ast.Name))
            if isinstance(node, ast.For)
            else frozenset(),
            movable=not any(
                isinstance(n, (ast.Constant, ast.JoinedStr)) and n.lineno != n.end_lineno
                for n in ast.walk(node)
            ),
        )

    def _read_imports(self, tree: ast.Module) -> None:
        top = set(map(id, tree.body))
        in_first_block = True
        for node in tree.body:
            is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                if in_first_block:
                    self._last_import = self.statement(self._place(node))
            elif not is_text:
                in_first_block = False
        for each in ast.walk(tree):
            if isinstance(each, ast.Import):
                for alias in each.names:
                    # ``import torch.nn`` binds ``torch``.
                    name = alias.asname or alias.name.partition(".")[0]
                    target = alias.name if alias.asname else name
                    self._bind(name, target, id(each) in top)
            elif isinstance(each, ast.ImportFrom):
                for alias in each.names:
                    target = f"{each.module or ''}.{alias.name}"
                    self._bind(
                        alias.asname or alias.name, target, not each.level and id(each) in top
                    )
            elif isinstance(each, ast.Name) and not isinstance(each.ctx, ast.Load):
                self._bound.add(each.id)
            elif isinstance(each, ast.arg):
                self._bound.add(each.arg)
            elif isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                self._bound.add(each.name)

    def _bind(self, name: str, target: str, usable: bool) -> None:
        if not usable or self._imports.get(name, target) != target:
            self._bound.add(name)
        else:
            self._imports[name] = target


def _within(inner: Location, outer: Location) -> bool:
    return (outer.line, outer.column) <= (inner.line, inner.column) and (
        inner.end_line,
        inner.end_column,
    ) <= (outer.end_line, outer.end_column)


def _starts_within(place: Location, outer: Location) -> bool:
    start = (place.line, place.column)
    return (outer.line, outer.column) <= start < (outer.end_line, outer.end_column)
