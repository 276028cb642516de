"""Numbers computed by a function of the script, such as the factor of a ``LambdaLR``.

The function is turned into a Python closure over its syntax tree once and then evaluated at many
points. Arithmetic, comparisons, conditionals, local names, calls of mathematical functions and of
other functions of the project are understood; anything else makes the function unfoldable.
"""

from __future__ import annotations

import math
import operator
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from typing import Any

import libcst as cst

from convlint.program.domain import (
    Abstract,
    Const,
    Function,
    Library,
    Partial,
    Scope,
    Seq,
)

__all__ = ["late_bound", "tabulate"]

_DENSE_POINTS = 256
"""Every point up to here is tabulated: runs counted in epochs are shorter."""
_SPACING = 1.01
"""Beyond, points are one per cent apart."""
_LAST_POINT = 1_000_000
_DEEPEST_CALL = 4

Environment = dict[str, Any]
Compiled = Callable[[Environment], Any]
Evaluate = Callable[[cst.BaseExpression, Scope], Abstract]


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
    if not isinstance(first, Function) or not isinstance(first.node, cst.Lambda):
        return ""
    if any(not isinstance(f, Function) or f.node is not first.node for f in functions.items):
        return ""
    parameters = first.node.params
    own = {p.name.value for p in (*parameters.params, *parameters.kwonly_params)}
    shared = first.scope.names.keys() - own
    pending: list[cst.CSTNode] = [first.node.body]
    while pending:
        node = pending.pop()
        if isinstance(node, cst.Name) and node.value in shared and first.scope.parent is not None:
            return node.value
        if not isinstance(node, cst.Attribute):
            pending.extend(node.children)
        else:
            pending.append(node.value)
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
        parameters = function.node.params
        if isinstance(parameters.star_arg, cst.Param) or parameters.star_kwarg is not None:
            raise _Unfoldable
        self._positional = [p.name.value for p in (*parameters.posonly_params, *parameters.params)]
        if function.bound is not None and "staticmethod" not in function.decorators:
            self._scope.names[self._positional.pop(0)] = function.bound
        self._locals = {*self._positional, *(p.name.value for p in parameters.kwonly_params)}
        self._defaults = {
            p.name.value: _constant(evaluate(p.default, function.scope))
            for p in (*parameters.posonly_params, *parameters.params, *parameters.kwonly_params)
            if p.default is not None
        }

    def compiled(self) -> Callable[..., Any]:
        """The function as a Python callable."""
        node = self._function.node
        if isinstance(node, cst.Lambda):
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

    def _suite(self, body: cst.BaseSuite) -> Compiled:
        steps = [step for part in body.body for step in self._statement(part)]

        def run(environment: Environment) -> Any:
            for step in steps:
                result = step(environment)
                if result is not _FALLS_THROUGH:
                    return result
            return _FALLS_THROUGH

        return run

    def _statement(self, node: cst.CSTNode) -> list[Compiled]:
        if isinstance(node, cst.SimpleStatementLine):
            return [step for small in node.body for step in self._small(small)]
        if isinstance(node, cst.If):
            return [self._if(node)]
        raise _Unfoldable

    def _if(self, node: cst.If) -> Compiled:
        test, body = self._expression(node.test), self._suite(node.body)
        otherwise: Compiled = lambda environment: _FALLS_THROUGH  # noqa: E731
        if isinstance(node.orelse, cst.If):
            otherwise = self._if(node.orelse)
        elif node.orelse is not None:
            otherwise = self._suite(node.orelse.body)
        return lambda environment: (body if test(environment) else otherwise)(environment)

    def _small(self, node: cst.CSTNode) -> list[Compiled]:
        if isinstance(node, cst.Return):
            if node.value is None:
                raise _Unfoldable
            return [self._expression(node.value)]
        if isinstance(node, cst.Assign) and len(node.targets) == 1:
            return [self._store(node.targets[0].target, self._expression(node.value))]
        if isinstance(node, cst.AugAssign) and isinstance(node.target, cst.Name):
            apply = _AUGMENTED.get(type(node.operator))
            if apply is None or node.target.value not in self._locals:
                raise _Unfoldable
            left, right = self._expression(node.target), self._expression(node.value)
            return [self._store(node.target, lambda e: apply(left(e), right(e)))]
        if isinstance(node, (cst.Pass, cst.Assert, cst.Nonlocal)) or (
            isinstance(node, cst.Expr)
            and isinstance(node.value, (cst.SimpleString, cst.ConcatenatedString))
        ):
            return []
        raise _Unfoldable

    def _store(self, target: cst.BaseExpression, value: Compiled) -> Compiled:
        if not isinstance(target, cst.Name):
            raise _Unfoldable
        name = target.value
        self._locals.add(name)

        def store(environment: Environment) -> Any:
            environment[name] = value(environment)
            return _FALLS_THROUGH

        return store

    # Expressions.

    def _expression(self, node: cst.BaseExpression) -> Compiled:
        if isinstance(node, cst.Name) and node.value in self._locals:
            name = node.value
            return lambda environment: environment[name]
        if isinstance(node, cst.BinaryOperation):
            apply = _BINARY.get(type(node.operator))
            if apply is None:
                raise _Unfoldable
            left, right = self._expression(node.left), self._expression(node.right)
            return lambda e: apply(left(e), right(e))
        if isinstance(node, cst.UnaryOperation):
            unary = _UNARY.get(type(node.operator))
            if unary is None:
                raise _Unfoldable
            operand = self._expression(node.expression)
            return lambda e: unary(operand(e))
        if isinstance(node, cst.BooleanOperation):
            return self._boolean(node)
        if isinstance(node, cst.Comparison):
            return self._comparison(node)
        if isinstance(node, cst.IfExp):
            test, body = self._expression(node.test), self._expression(node.body)
            otherwise = self._expression(node.orelse)
            return lambda e: body(e) if test(e) else otherwise(e)
        if isinstance(node, cst.Call):
            return self._call(node)
        if isinstance(node, (cst.Tuple, cst.List)):
            return self._display(node)
        if isinstance(node, cst.Subscript):
            return self._subscript(node)
        value = _constant(self._evaluate(node, self._scope))
        return lambda environment: value

    def _boolean(self, node: cst.BooleanOperation) -> Compiled:
        left, right = self._expression(node.left), self._expression(node.right)
        if isinstance(node.operator, cst.And):
            return lambda e: left(e) and right(e)
        return lambda e: left(e) or right(e)

    def _comparison(self, node: cst.Comparison) -> Compiled:
        first = self._expression(node.left)
        rest: list[tuple[Callable[[Any, Any], Any], Compiled]] = []
        for part in node.comparisons:
            compare = _COMPARE.get(type(part.operator))
            if compare is None:
                raise _Unfoldable
            rest.append((compare, self._expression(part.comparator)))

        def run(environment: Environment) -> bool:
            left = first(environment)
            for compare, expression in rest:
                right = expression(environment)
                if not compare(left, right):
                    return False
                left = right
            return True

        return run

    def _display(self, node: cst.Tuple | cst.List) -> Compiled:
        if any(isinstance(element, cst.StarredElement) for element in node.elements):
            raise _Unfoldable
        items = [self._expression(element.value) for element in node.elements]
        return lambda e: tuple(item(e) for item in items)

    def _subscript(self, node: cst.Subscript) -> Compiled:
        part = node.slice[0].slice
        if len(node.slice) != 1 or not isinstance(part, cst.Index):
            raise _Unfoldable
        owner, index = self._expression(node.value), self._expression(part.value)
        return lambda e: owner(e)[index(e)]

    def _call(self, node: cst.Call) -> Compiled:
        if any(arg.star for arg in node.args):
            raise _Unfoldable
        called = _callable(self._evaluate(node.func, self._scope), self._evaluate, self._depth + 1)
        values = [self._expression(a.value) for a in node.args if a.keyword is None]
        named = {
            a.keyword.value: self._expression(a.value) for a in node.args if a.keyword is not None
        }
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


_BINARY: dict[type[cst.BaseBinaryOp], Callable[[Any, Any], Any]] = {
    cst.Add: operator.add,
    cst.Subtract: operator.sub,
    cst.Multiply: _product,
    cst.Divide: operator.truediv,
    cst.FloorDivide: operator.floordiv,
    cst.Modulo: operator.mod,
    cst.Power: _power,
}

_AUGMENTED: dict[type[cst.BaseAugOp], Callable[[Any, Any], Any]] = {
    cst.AddAssign: operator.add,
    cst.SubtractAssign: operator.sub,
    cst.MultiplyAssign: _product,
    cst.DivideAssign: operator.truediv,
    cst.FloorDivideAssign: operator.floordiv,
    cst.PowerAssign: _power,
}

_UNARY: dict[type[cst.BaseUnaryOp], Callable[[Any], Any]] = {
    cst.Minus: operator.neg,
    cst.Plus: operator.pos,
    cst.Not: operator.not_,
}

_COMPARE: dict[type[cst.BaseCompOp], Callable[[Any, Any], Any]] = {
    cst.Equal: operator.eq,
    cst.NotEqual: operator.ne,
    cst.LessThan: operator.lt,
    cst.LessThanEqual: operator.le,
    cst.GreaterThan: operator.gt,
    cst.GreaterThanEqual: operator.ge,
    cst.In: lambda item, items: item in items,
    cst.NotIn: lambda item, items: item not in items,
    cst.Is: operator.is_,
    cst.IsNot: operator.is_not,
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
