"""Evaluating expressions: names, constants, displays and comprehensions."""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable
from typing import Any

import libcst as cst

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
)
from convlint.program.facts import Scalar

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

    def evaluate(self, node: cst.BaseExpression, scope: Scope) -> Abstract:
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

    def _name(self, node: cst.Name, scope: Scope) -> Abstract:
        value = self.lookup(node.value, scope)
        if value is not None:
            return value
        if node.value in _CONSTANT_NAMES:
            return Const(_CONSTANT_NAMES[node.value], LITERAL)
        return Library("builtins." + node.value) if node.value in _BUILTINS else UNKNOWN

    def _integer(self, node: cst.Integer, scope: Scope) -> Abstract:
        try:
            return Const(int(node.value.replace("_", ""), 0), LITERAL)
        except ValueError:
            return UNKNOWN

    def _float(self, node: cst.Float, scope: Scope) -> Abstract:
        return Const(float(node.value.replace("_", "")), LITERAL)

    def _string(self, node: cst.SimpleString, scope: Scope) -> Abstract:
        plain = _plain_string(node.value)
        value = plain if plain is not None else _literal(node.value)
        return Const(value, LITERAL) if isinstance(value, str) else UNKNOWN

    def _joined_string(self, node: cst.ConcatenatedString, scope: Scope) -> Abstract:
        value = node.evaluated_value
        return Const(value, LITERAL) if isinstance(value, str) else UNKNOWN

    def _elements(
        self, node: cst.List | cst.Tuple | cst.Set, scope: Scope
    ) -> tuple[list[Abstract], bool]:
        items: list[Abstract] = []
        complete = True
        for element in node.elements:
            value = self.evaluate(element.value, scope)
            if isinstance(element, cst.StarredElement):
                known = self.known_items(value)
                if known is None:
                    complete = False
                    items.append(self.element_of(value, Site(scope.module, element.value)))
                else:
                    items.extend(known)
            else:
                items.append(value)
        return items, complete

    def _list(self, node: cst.List, scope: Scope) -> Abstract:
        items, complete = self._elements(node, scope)
        return Seq("list", items, complete, Site(scope.module, node))

    def _tuple(self, node: cst.Tuple, scope: Scope) -> Abstract:
        items, complete = self._elements(node, scope)
        return Seq("tuple", items, complete, Site(scope.module, node))

    def _set(self, node: cst.Set, scope: Scope) -> Abstract:
        items, complete = self._elements(node, scope)
        return Seq("set", items, complete, Site(scope.module, node))

    def _dict(self, node: cst.Dict, scope: Scope) -> Abstract:
        result = Map({}, True, Site(scope.module, node))
        for element in node.elements:
            value = self.evaluate(element.value, scope)
            if isinstance(element, cst.DictElement):
                key = self.evaluate(element.key, scope)
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
        self, node: cst.ListComp | cst.GeneratorExp | cst.SetComp, scope: Scope
    ) -> Abstract:
        items, complete = self._comprehend(
            node.for_in, scope, lambda inner: self.evaluate(node.elt, inner)
        )
        kind = "generator" if isinstance(node, cst.GeneratorExp) else "list"
        if kind == "generator" and len(items) == 1 and isinstance(items[0], Parameters):
            owner = items[0]
            return Parameters(
                owner.owners, owner.resolved, view=owner.view, partial=True, lazy=True
            )
        return Seq(kind, items, complete, Site(scope.module, node))

    def _comprehend(
        self, for_in: cst.CompFor, scope: Scope, element: Callable[[Scope], Abstract]
    ) -> tuple[list[Abstract], bool]:
        inner = Scope({}, scope.module, scope, scope.function, self_class=scope.self_class)
        iterable = self.evaluate(for_in.iter, scope)
        known = self.known_items(iterable)
        complete = known is not None and not for_in.ifs
        elements = (
            known
            if known is not None
            else [self.element_of(iterable, Site(scope.module, for_in.iter))]
        )
        items: list[Abstract] = []
        for value in elements:
            self.bind_target(for_in.target, value, inner)
            for condition in for_in.ifs:
                self.evaluate(condition.test, inner)
            if for_in.inner_for_in is not None:
                nested, nested_complete = self._comprehend(for_in.inner_for_in, inner, element)
                items += nested
                complete = complete and nested_complete
            else:
                items.append(element(inner))
        return items, complete

    def _dict_comprehension(self, node: cst.DictComp, scope: Scope) -> Abstract:
        result = Map({}, True, Site(scope.module, node))

        def pair(inner: Scope) -> Abstract:
            key = self.evaluate(node.key, inner)
            value = self.evaluate(node.value, inner)
            if isinstance(key, Const):
                result.items[key.value] = value
            else:
                result.complete = False
            return value

        _, complete = self._comprehend(node.for_in, scope, pair)
        result.complete = result.complete and complete
        return result

    def _lambda(self, node: cst.Lambda, scope: Scope) -> Abstract:
        return Function(node, scope, "<lambda>")

    def _named(self, node: cst.NamedExpr, scope: Scope) -> Abstract:
        value = self.evaluate(node.value, scope)
        self.bind_target(node.target, value, scope)
        return value

    def _await(self, node: cst.Await, scope: Scope) -> Abstract:
        return self.evaluate(node.expression, scope)

    def _formatted(self, node: cst.FormattedString, scope: Scope) -> Abstract:
        for part in node.parts:
            if isinstance(part, cst.FormattedStringExpression):
                self.evaluate(part.expression, scope)
        return UNKNOWN

    def _yield(self, node: cst.Yield, scope: Scope) -> Abstract:
        value = node.value
        if isinstance(value, cst.From):
            scope.returns.append(self.evaluate(value.item, scope))
        elif value is not None:
            yielded = self.evaluate(value, scope)
            scope.returns.append(Iterated("generator", (Seq("list", [yielded], False),)))
        return UNKNOWN


_CONSTANT_NAMES: dict[str, Scalar] = {"True": True, "False": False, "None": None}


_HANDLERS: dict[type[cst.CSTNode], Callable[[Any, Any, Scope], Abstract]] = {
    cst.Name: Expressions._name,
    cst.Attribute: Expressions._attribute,
    cst.Integer: Expressions._integer,
    cst.Float: Expressions._float,
    cst.SimpleString: Expressions._string,
    cst.ConcatenatedString: Expressions._joined_string,
    cst.FormattedString: Expressions._formatted,
    cst.UnaryOperation: Expressions._unary,
    cst.BinaryOperation: Expressions._binary,
    cst.BooleanOperation: Expressions._boolean,
    cst.Comparison: Expressions._comparison,
    cst.IfExp: Expressions._conditional,
    cst.List: Expressions._list,
    cst.Tuple: Expressions._tuple,
    cst.Set: Expressions._set,
    cst.Dict: Expressions._dict,
    cst.ListComp: Expressions._comprehension,
    cst.GeneratorExp: Expressions._comprehension,
    cst.SetComp: Expressions._comprehension,
    cst.DictComp: Expressions._dict_comprehension,
    cst.Lambda: Expressions._lambda,
    cst.NamedExpr: Expressions._named,
    cst.Await: Expressions._await,
    cst.Yield: Expressions._yield,
    cst.Subscript: Expressions._subscript,
    cst.Call: lambda self, node, scope: self.call(node, scope),
}


@functools.lru_cache(maxsize=4096)
def _literal(text: str) -> str | bytes:
    """The value of a string literal of any form; functions are walked, docstrings and all, as
    often as they are called."""
    value: str | bytes = ast.literal_eval(text)
    return value


def _plain_string(text: str) -> str | None:
    """The value of a string literal without prefix, escapes or triple quotes."""
    if len(text) >= 2 and text[0] in "'\"" and "\\" not in text and text[:3] != text[0] * 3:
        return text[1:-1]
    return None
