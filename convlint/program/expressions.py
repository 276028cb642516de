"""Evaluating expressions: names, constants, displays and comprehensions."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from convlint.program.access import LITERAL, Access
from convlint.program.domain import (
    UNKNOWN,
    Abstract,
    Const,
    Function,
    Iterated,
    Library,
    Map,
    Parameters,
    Scope,
    Seq,
    Site,
    merged_parameters,
)

_BUILTINS = frozenset(
    {
        "len", "range", "enumerate", "zip", "print", "int", "float", "str", "bool", "list", "tuple",
        "dict", "set", "min", "max", "sum", "abs", "round", "isinstance", "issubclass", "hasattr",
        "getattr", "setattr", "super", "iter", "next", "map", "filter", "sorted", "reversed",
        "type", "id", "open", "any", "all", "vars", "repr", "format", "property", "staticmethod",
        "classmethod", "object", "Exception", "ValueError", "NotImplementedError", "callable",
        "input", "exit", "quit", "divmod", "pow", "hash", "frozenset", "locals", "globals", "dir",
        "KeyError", "RuntimeError", "TypeError", "AssertionError", "KeyboardInterrupt", "slice",
        "StopIteration", "ImportError", "FileNotFoundError", "delattr", "bytes", "complex", "chr",
        "ord", "__import__", "__file__",
    }
)  # fmt: skip


class Expressions(Access):
    """Evaluation of everything that is not a call."""

    def evaluate(self, node: ast.expr, scope: Scope) -> Abstract:
        """The abstract value of an expression."""
        handler = _HANDLERS.get(type(node))
        return handler(self, node, scope) if handler is not None else UNKNOWN

    def lookup(self, name: str, scope: Scope) -> Abstract | None:
        """The value bound to a name, innermost scope first."""
        current: Scope | None = scope
        while current is not None:
            if name in current.names:
                return current.names[name]
            current = current.parent
        return None

    def _name(self, node: ast.Name, scope: Scope) -> Abstract:
        name = node.id
        current: Scope | None = scope
        while current is not None:  # as in lookup, which is what this function does most
            if name in current.names:
                return current.names[name]
            current = current.parent
        return Library("builtins." + name) if name in _BUILTINS else UNKNOWN

    def _constant(self, node: ast.Constant, scope: Scope) -> Abstract:
        value = node.value
        if isinstance(value, (str, int, float)) or value is None:
            return Const(value, LITERAL)
        return UNKNOWN

    def _elements(
        self, node: ast.List | ast.Tuple | ast.Set, scope: Scope
    ) -> tuple[list[Abstract], bool]:
        items: list[Abstract] = []
        complete = True
        for element in node.elts:
            if isinstance(element, ast.Starred):
                value = self.evaluate(element.value, scope)
                known = self.known_items(value)
                if known is None:
                    complete = False
                    items.append(self.element_of(value, Site(scope.module, element.value)))
                else:
                    items.extend(known)
            else:
                items.append(self.evaluate(element, scope))
        return items, complete

    def _list(self, node: ast.List, scope: Scope) -> Abstract:
        items, complete = self._elements(node, scope)
        return _unpacked(node, items) or Seq("list", items, complete, Site(scope.module, node))

    def _tuple(self, node: ast.Tuple, scope: Scope) -> Abstract:
        items, complete = self._elements(node, scope)
        return _unpacked(node, items) or Seq("tuple", items, complete, Site(scope.module, node))

    def _set(self, node: ast.Set, scope: Scope) -> Abstract:
        items, complete = self._elements(node, scope)
        return Seq("set", items, complete, Site(scope.module, node))

    def _dict(self, node: ast.Dict, scope: Scope) -> Abstract:
        result = Map({}, True, Site(scope.module, node))
        for key_node, value_node in zip(node.keys, node.values, strict=True):
            value = self.evaluate(value_node, scope)
            if key_node is not None:
                key = self.evaluate(key_node, scope)
                if isinstance(key, Const):
                    result.items[key.value] = value
                else:
                    result.complete = False
            elif isinstance(value, Map):
                result.items.update(value.items)
                result.complete = result.complete and value.complete
            else:
                result.complete = False
        return result

    def _comprehension(
        self, node: ast.ListComp | ast.GeneratorExp | ast.SetComp, scope: Scope
    ) -> Abstract:
        items, complete = self._comprehend(
            node.generators, scope, lambda inner: self.evaluate(node.elt, inner)
        )
        kind = "generator" if isinstance(node, ast.GeneratorExp) else "list"
        drawn = merged_parameters(items)
        if drawn is not None and (kind == "generator" or _draws_all(node, items)):
            return replace(drawn, partial=kind == "generator", lazy=kind == "generator")
        return Seq(kind, items, complete, Site(scope.module, node))

    def _comprehend(
        self,
        generators: list[ast.comprehension],
        scope: Scope,
        element: Callable[[Scope], Abstract],
    ) -> tuple[list[Abstract], bool]:
        first, nested = generators[0], generators[1:]
        inner = Scope({}, scope.module, scope, scope.function, self_class=scope.self_class)
        iterable = self.evaluate(first.iter, scope)
        known = self.known_items(iterable)
        complete = known is not None and not first.ifs
        elements = (
            known
            if known is not None
            else [self.element_of(iterable, Site(scope.module, first.iter))]
        )
        items: list[Abstract] = []
        for value in elements:
            self.bind_target(first.target, value, inner)
            for condition in first.ifs:
                self.evaluate(condition, inner)
            if nested:
                more, all_of_it = self._comprehend(nested, inner, element)
                items += more
                complete = complete and all_of_it
            else:
                items.append(element(inner))
        return items, complete

    def _dict_comprehension(self, node: ast.DictComp, scope: Scope) -> Abstract:
        result = Map({}, True, Site(scope.module, node))

        def pair(inner: Scope) -> Abstract:
            key = self.evaluate(node.key, inner)
            value = self.evaluate(node.value, inner)
            if isinstance(key, Const):
                result.items[key.value] = value
            else:
                result.complete = False
            return value

        _, complete = self._comprehend(node.generators, scope, pair)
        result.complete = result.complete and complete
        return result

    def _lambda(self, node: ast.Lambda, scope: Scope) -> Abstract:
        return Function(node, scope, "<lambda>")

    def _named(self, node: ast.NamedExpr, scope: Scope) -> Abstract:
        value = self.evaluate(node.value, scope)
        self.bind_target(node.target, value, scope)
        return value

    def _await(self, node: ast.Await, scope: Scope) -> Abstract:
        return self.evaluate(node.value, scope)

    def _formatted(self, node: ast.JoinedStr, scope: Scope) -> Abstract:
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                self.evaluate(part.value, scope)
        return UNKNOWN

    def _yield(self, node: ast.Yield, scope: Scope) -> Abstract:
        if node.value is not None:
            yielded = self.evaluate(node.value, scope)
            scope.returns.append(Iterated("generator", (Seq("list", [yielded], False),)))
        return UNKNOWN

    def _yield_from(self, node: ast.YieldFrom, scope: Scope) -> Abstract:
        scope.returns.append(self.evaluate(node.value, scope))
        return UNKNOWN


_HANDLERS: dict[type[ast.AST], Callable[[Any, Any, Scope], Abstract]] = {
    ast.Name: Expressions._name,
    ast.Attribute: Expressions._attribute,
    ast.Constant: Expressions._constant,
    ast.JoinedStr: Expressions._formatted,
    ast.UnaryOp: Expressions._unary,
    ast.BinOp: Expressions._binary,
    ast.BoolOp: Expressions._boolean,
    ast.Compare: Expressions._comparison,
    ast.IfExp: Expressions._conditional,
    ast.List: Expressions._list,
    ast.Tuple: Expressions._tuple,
    ast.Set: Expressions._set,
    ast.Dict: Expressions._dict,
    ast.ListComp: Expressions._comprehension,
    ast.GeneratorExp: Expressions._comprehension,
    ast.SetComp: Expressions._comprehension,
    ast.DictComp: Expressions._dict_comprehension,
    ast.Lambda: Expressions._lambda,
    ast.NamedExpr: Expressions._named,
    ast.Await: Expressions._await,
    ast.Yield: Expressions._yield,
    ast.YieldFrom: Expressions._yield_from,
    ast.Subscript: Expressions._subscript,
    ast.Call: lambda self, node, scope: self.call(node, scope),
}


def _draws_all(node: ast.ListComp | ast.GeneratorExp | ast.SetComp, items: list[Abstract]) -> bool:
    """``[p for m in (encoder, decoder) for p in m.parameters()]``: no test leaves one out."""
    return not any(generator.ifs for generator in node.generators) and all(
        isinstance(item, Parameters) and item.single for item in items
    )


def _unpacked(node: ast.List | ast.Tuple, items: list[Abstract]) -> Parameters | None:
    """``[*encoder.parameters(), *decoder.parameters()]``: the parameters of both."""
    if not node.elts or not all(isinstance(element, ast.Starred) for element in node.elts):
        return None
    return merged_parameters(items)
