"""Questions about Python syntax that the tree does not answer in one step."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, lru_cache
from typing import TypeVar

Node = TypeVar("Node", bound=ast.AST)

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
ForNode = ast.For | ast.AsyncFor
LoopNode = ForNode | ast.While

Parameter = tuple[ast.arg, ast.expr | None]
"""A parameter of a function and its default, None without one."""


@lru_cache(maxsize=512)
def positional_parameters(arguments: ast.arguments) -> tuple[Parameter, ...]:
    """The parameters that take positional arguments, in order."""
    parameters = [*arguments.posonlyargs, *arguments.args]
    without = len(parameters) - len(arguments.defaults)
    defaults = [*[None] * without, *arguments.defaults]
    return tuple(zip(parameters, defaults, strict=True))


def keyword_parameters(arguments: ast.arguments) -> list[Parameter]:
    """The parameters that only take keyword arguments."""
    return list(zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True))


def argument_values(call: ast.Call) -> list[ast.expr]:
    """What a call is given, without stars and keywords."""
    positional = [a.value if isinstance(a, ast.Starred) else a for a in call.args]
    return [*positional, *(keyword.value for keyword in call.keywords)]


def unstarred(elements: Iterable[ast.expr]) -> list[ast.expr]:
    """The elements of a display or of a target, without stars."""
    return [e.value if isinstance(e, ast.Starred) else e for e in elements]


def dotted(node: ast.AST) -> str:
    """``a.b.c`` for a name or attribute, else an empty string."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        owner = dotted(node.value)
        return f"{owner}.{node.attr}" if owner else ""
    return ""


_WITHOUT_NODES = frozenset(
    {
        "ctx", "op", "ops", "id", "attr", "arg", "name", "names", "kind", "level", "module",
        "kwd_attrs", "rest", "conversion", "simple", "is_async", "type_comment", "type_ignores",
    }
)  # fmt: skip
"""Fields that hold text, numbers, operators, imported names or contexts of names."""


@cache
def _fields_with_nodes(kind: type[ast.AST]) -> tuple[str, ...]:
    if kind in (ast.Constant, ast.MatchSingleton):
        return ()
    return tuple(field for field in kind._fields if field not in _WITHOUT_NODES)


class NodesByClass:
    """The nodes of a tree, found in one walk; operators, imported names and contexts left out."""

    def __init__(self, tree: ast.AST) -> None:
        self._found: dict[type[ast.AST], list[ast.AST]] = {}
        pending: list[ast.AST | None] = [tree]
        while pending:
            node = pending.pop()
            if node is None:  # ``{**rest}`` has no key there
                continue
            kind = type(node)
            if kind in self._found:
                self._found[kind].append(node)
            else:
                self._found[kind] = [node]
            for field in _fields_with_nodes(kind):  # type: ignore[arg-type]
                value = getattr(node, field, None)
                if type(value) is list:
                    pending.extend(value)
                elif value is not None:
                    pending.append(value)

    def of(self, kind: type[Node]) -> list[Node]:
        """Those of exactly this class, in no particular order."""
        return self._found.get(kind, [])  # type: ignore[return-value]


def descendants(root: ast.AST | Sequence[ast.AST]) -> Iterator[ast.AST]:
    """Every node below these, themselves included, in no particular order."""
    pending: list[ast.AST] = [root] if isinstance(root, ast.AST) else list(root)
    while pending:
        node = pending.pop()
        yield node
        # Not all attributes: nodes that every tree of a process shares (`ast.Load()`) may carry those
        # of another library, such as the parent `executing` notes once IPython has shown an error.
        for field in node._fields:
            value = getattr(node, field, None)
            if isinstance(value, ast.AST):
                pending.append(value)
            elif type(value) is list:
                pending.extend(item for item in value if isinstance(item, ast.AST))
