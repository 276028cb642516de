"""Numbers computed by a function of the script, such as the factor of a ``LambdaLR``.

The function is turned into a Python closure over its syntax tree once and then evaluated at many
points. Arithmetic, comparisons, conditionals, local names, calls of mathematical functions and of
other functions of the project are understood; anything else makes the function unfoldable.
"""

from __future__ import annotations

import ast
import math
import operator
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from typing import Any

from convlint.program.domain import (
    Abstract,
    Const,
    Function,
    Library,
    Partial,
    Scope,
    Seq,
)
from convlint.program.syntax import descendants, keyword_parameters, positional_parameters

__all__ = ["late_bound", "tabulate"]

_DENSE_POINTS = 256
"""Every point up to here is tabulated: runs counted in epochs are shorter."""
_SPACING = 1.01
"""Beyond, points are one per cent apart."""
_LAST_POINT = 1_000_000
_DEEPEST_CALL = 4

Environment = dict[str, Any]
Compiled = Callable[[Environment], Any]
Evaluate = Callable[[ast.expr, Scope], Abstract]


class _Unfoldable(Exception):
    """The function does something that is not followed."""


def tabulate(function: Abstract, evaluate: Evaluate) -> dict[int, float] | None:
    """The values of a function of one count, by count.

    Counts 0 to 255 are all there, later ones (up to a million) a hundredth apart; the table ends
    where the function stops being a real number. ``evaluate`` gives the value of an expression in
    a scope of the program. None when the function cannot be followed, or not even at 0.
    """
    try:
        call = _callable(function, evaluate, 0)
    except (_Unfoldable, RecursionError):
        return None
    table: dict[int, float] = {}
    points = _points()
    for position, point in enumerate(points):
        value = _real(call, point)
        if value is None:
            if position and point - points[position - 1] > 1:
                table.update(_last_good(call, points[position - 1], point))
            break
        table[point] = value
    return table or None


def late_bound(functions: Abstract) -> str:
    """The loop variable that all lambdas of one comprehension share, or "".

    ``[lambda epoch: rates[i] for i in range(3)]`` gives three functions that look up ``i`` when
    they are called, and then all find its last value.
    """
    if not isinstance(functions, Seq) or len(functions.items) < 2:
        return ""
    first = functions.items[0]
    if not isinstance(first, Function) or not isinstance(first.node, ast.Lambda):
        return ""
    if any(not isinstance(f, Function) or f.node is not first.node for f in functions.items):
        return ""
    parameters = first.node.args
    own = {p.arg for p in (*parameters.args, *parameters.kwonlyargs)}
    shared = first.scope.names.keys() - own
    for node in descendants(first.node.body):
        if isinstance(node, ast.Name) and node.id in shared and first.scope.parent is not None:
            return node.id
    return ""


def _points() -> list[int]:
    points = list(range(_DENSE_POINTS))
    while points[-1] < _LAST_POINT:
        points.append(max(points[-1] + 1, int(points[-1] * _SPACING)))
    return points


def _last_good(call: Callable[..., Any], good: int, bad: int) -> dict[int, float]:
    """The last point before ``bad`` at which there is a value."""
    end = good + bisect_left(range(good, bad), True, key=lambda t: _real(call, t) is None) - 1
    value = _real(call, end)
    return {end: value} if value is not None else {}


def _real(call: Callable[..., Any], point: int) -> float | None:
    try:
        value = call(point)
    except (ArithmeticError, ValueError, TypeError, LookupError, RecursionError, _Unfoldable):
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def _callable(function: Abstract, evaluate: Evaluate, depth: int) -> Callable[..., Any]:
    if depth > _DEEPEST_CALL:
        raise _Unfoldable
    if isinstance(function, Function):
        return _FunctionCompiler(function, evaluate, depth).compiled()
    if isinstance(function, Library):
        known = _FUNCTIONS.get(function.name)
        if known is not None:
            return known
    if isinstance(function, Partial) and function.arguments.complete:
        inner = _callable(function.callee, evaluate, depth + 1)
        first = [_constant(a.value) for a in function.arguments.positional]
        named = {k: _constant(a.value) for k, a in function.arguments.keywords.items()}
        return lambda *rest, **more: inner(*first, *rest, **{**named, **more})
    raise _Unfoldable


def _constant(value: Abstract) -> Any:
    if isinstance(value, Const):
        return value.value
    if isinstance(value, Seq) and value.complete:
        return tuple(_constant(item) for item in value.items)
    raise _Unfoldable


class _FunctionCompiler:
    """Compiles one function of the project."""

    def __init__(self, function: Function, evaluate: Evaluate, depth: int) -> None:
        self._function = function
        self._evaluate = evaluate
        self._depth = depth
        self._scope = Scope({}, function.scope.module, function.scope)
        parameters = function.node.args
        if parameters.vararg is not None or parameters.kwarg is not None:
            raise _Unfoldable
        positional, named = positional_parameters(parameters), keyword_parameters(parameters)
        self._positional = [parameter.arg for parameter, _ in positional]
        if function.bound is not None and "staticmethod" not in function.decorators:
            self._scope.names[self._positional.pop(0)] = function.bound
        self._locals = {*self._positional, *(parameter.arg for parameter, _ in named)}
        self._defaults = {
            parameter.arg: _constant(evaluate(default, function.scope))
            for parameter, default in (*positional, *named)
            if default is not None
        }

    def compiled(self) -> Callable[..., Any]:
        """The function as a Python callable."""
        node = self._function.node
        if isinstance(node, ast.Lambda):
            run = self._expression(node.body)
        else:
            run = self._suite(node.body)

        def call(*values: Any, **named: Any) -> Any:
            if len(values) > len(self._positional):
                raise _Unfoldable
            environment = {**self._defaults, **dict(zip(self._positional, values, strict=False))}
            environment.update(named)
            result = run(environment)
            return None if result is _FALLS_THROUGH else result

        return call

    # Statements: a compiled statement gives the value returned, or _FALLS_THROUGH.

    def _suite(self, body: list[ast.stmt]) -> Compiled:
        steps = [step for statement in body for step in self._statement(statement)]

        def run(environment: Environment) -> Any:
            for step in steps:
                result = step(environment)
                if result is not _FALLS_THROUGH:
                    return result
            return _FALLS_THROUGH

        return run

    def _if(self, node: ast.If) -> Compiled:
        test, body = self._expression(node.test), self._suite(node.body)
        otherwise = self._suite(node.orelse)
        return lambda environment: (body if test(environment) else otherwise)(environment)

    def _statement(self, node: ast.stmt) -> list[Compiled]:
        if isinstance(node, ast.If):
            return [self._if(node)]
        if isinstance(node, ast.Return):
            if node.value is None:
                raise _Unfoldable
            return [self._expression(node.value)]
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            return [self._store(node.targets[0], self._expression(node.value))]
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            apply = _BINARY.get(type(node.op))
            if apply is None or node.target.id not in self._locals:
                raise _Unfoldable
            left, right = self._expression(node.target), self._expression(node.value)
            return [self._store(node.target, lambda e: apply(left(e), right(e)))]
        if isinstance(node, (ast.Pass, ast.Assert, ast.Nonlocal)) or (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            return []
        raise _Unfoldable

    def _store(self, target: ast.expr, value: Compiled) -> Compiled:
        if not isinstance(target, ast.Name):
            raise _Unfoldable
        name = target.id
        self._locals.add(name)

        def store(environment: Environment) -> Any:
            environment[name] = value(environment)
            return _FALLS_THROUGH

        return store

    # Expressions.

    def _expression(self, node: ast.expr) -> Compiled:
        if isinstance(node, ast.Name) and node.id in self._locals:
            name = node.id
            return lambda environment: environment[name]
        if isinstance(node, ast.BinOp):
            apply = _BINARY.get(type(node.op))
            if apply is None:
                raise _Unfoldable
            left, right = self._expression(node.left), self._expression(node.right)
            return lambda e: apply(left(e), right(e))
        if isinstance(node, ast.UnaryOp):
            unary = _UNARY.get(type(node.op))
            if unary is None:
                raise _Unfoldable
            operand = self._expression(node.operand)
            return lambda e: unary(operand(e))
        if isinstance(node, ast.BoolOp):
            return self._boolean(node)
        if isinstance(node, ast.Compare):
            return self._comparison(node)
        if isinstance(node, ast.IfExp):
            test, body = self._expression(node.test), self._expression(node.body)
            otherwise = self._expression(node.orelse)
            return lambda e: body(e) if test(e) else otherwise(e)
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, (ast.Tuple, ast.List)):
            return self._display(node)
        if isinstance(node, ast.Subscript):
            return self._subscript(node)
        value = _constant(self._evaluate(node, self._scope))
        return lambda environment: value

    def _boolean(self, node: ast.BoolOp) -> Compiled:
        *first, last = [self._expression(value) for value in node.values]
        stops_at = isinstance(node.op, ast.Or)

        def run(environment: Environment) -> Any:
            for expression in first:
                value = expression(environment)
                if bool(value) is stops_at:
                    return value
            return last(environment)

        return run

    def _comparison(self, node: ast.Compare) -> Compiled:
        first = self._expression(node.left)
        rest: list[tuple[Callable[[Any, Any], Any], Compiled]] = []
        for op, comparator in zip(node.ops, node.comparators, strict=True):
            compare = _COMPARE.get(type(op))
            if compare is None:
                raise _Unfoldable
            rest.append((compare, self._expression(comparator)))

        def run(environment: Environment) -> bool:
            left = first(environment)
            for compare, expression in rest:
                right = expression(environment)
                if not compare(left, right):
                    return False
                left = right
            return True

        return run

    def _display(self, node: ast.Tuple | ast.List) -> Compiled:
        if any(isinstance(element, ast.Starred) for element in node.elts):
            raise _Unfoldable
        items = [self._expression(element) for element in node.elts]
        return lambda e: tuple(item(e) for item in items)

    def _subscript(self, node: ast.Subscript) -> Compiled:
        if isinstance(node.slice, (ast.Slice, ast.Tuple)):
            raise _Unfoldable
        owner, index = self._expression(node.value), self._expression(node.slice)
        return lambda e: owner(e)[index(e)]

    def _call(self, node: ast.Call) -> Compiled:
        if any(isinstance(arg, ast.Starred) for arg in node.args):
            raise _Unfoldable
        called = _callable(self._evaluate(node.func, self._scope), self._evaluate, self._depth + 1)
        values = [self._expression(argument) for argument in node.args]
        named: dict[str, Compiled] = {}
        for keyword in node.keywords:
            if keyword.arg is None:
                raise _Unfoldable
            named[keyword.arg] = self._expression(keyword.value)
        return lambda e: called(
            *(value(e) for value in values), **{key: value(e) for key, value in named.items()}
        )


_FALLS_THROUGH: Any = object()


def _power(base: Any, exponent: Any) -> Any:
    if abs(exponent) > _LAST_POINT:
        raise _Unfoldable
    return float(base) ** exponent


def _product(left: Any, right: Any) -> Any:
    if not (isinstance(left, (int, float)) and isinstance(right, (int, float))):
        raise _Unfoldable
    return left * right


_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: _product,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
}

_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
}

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda item, items: item in items,
    ast.NotIn: lambda item, items: item not in items,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
}


def _clipped(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


_ELEMENTARY: dict[str, Callable[..., Any]] = {
    "sqrt": math.sqrt,
    "exp": math.exp,
    "log": math.log,
    "log2": math.log2,
    "log10": math.log10,
    "cos": math.cos,
    "sin": math.sin,
    "tan": math.tan,
    "tanh": math.tanh,
    "floor": math.floor,
    "ceil": math.ceil,
    "pow": math.pow,
}

_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "builtins.min": min,
    "builtins.max": max,
    "builtins.abs": abs,
    "builtins.float": float,
    "builtins.int": int,
    "builtins.round": round,
    "builtins.sum": sum,
    "builtins.len": len,
    "builtins.pow": _power,
    "numpy.clip": _clipped,
    "numpy.minimum": min,
    "numpy.maximum": max,
    "numpy.abs": abs,
    "numpy.power": _power,
    "bisect.bisect": bisect_right,
    "bisect.bisect_right": bisect_right,
    **{f"math.{name}": function for name, function in _ELEMENTARY.items()},
    **{f"numpy.{name}": function for name, function in _ELEMENTARY.items()},
}
