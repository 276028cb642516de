"""Questions about Python syntax that the tree does not answer in one step."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
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


class NodesByClass:
    """The nodes of a tree, found in one walk; contexts of names (``ast.Load`` ...) left out."""

    def __init__(self, tree: ast.AST) -> None:
        self._found: dict[type[ast.AST], list[ast.AST]] = {}
        pending = [tree]
        while pending:
            node = pending.pop()
            self._found.setdefault(type(node), []).append(node)
            for value in vars(node).values():
                if isinstance(value, ast.AST):
                    if not isinstance(value, ast.expr_context):
                        pending.append(value)
                elif type(value) is list:
                    pending.extend(item for item in value if isinstance(item, ast.AST))

    def of(self, kind: type[Node]) -> list[Node]:
        """Those of exactly this class, in no particular order."""
        return self._found.get(kind, [])  # type: ignore[return-value]


def descendants(root: ast.AST | Sequence[ast.AST]) -> Iterator[ast.AST]:
    """Every node below these, themselves included, in no particular order."""
    pending: list[ast.AST] = [root] if isinstance(root, ast.AST) else list(root)
    while pending:
        node = pending.pop()
        yield node
        for value in vars(node).values():
            if isinstance(value, ast.AST):
                pending.append(value)
            elif type(value) is list:
                pending.extend(item for item in value if isinstance(item, ast.AST))
