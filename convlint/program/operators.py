"""Operators: arithmetic, comparison, boolean logic, with constants folded and tensors recorded."""

from __future__ import annotations

import ast
import operator
import posixpath
from collections.abc import Callable
from typing import Any

from convlint.program.domain import (
    UNKNOWN,
    Abstract,
    Argument,
    Choice,
    Class,
    Condition,
    Const,
    CurrentRate,
    Function,
    Indexed,
    Instance,
    Library,
    Map,
    Parameters,
    Scope,
    Seq,
    Site,
    Tensor,
    merged_parameters,
)
from convlint.program.facts import ObjectKind, Origin
from convlint.program.indexed import combined, selected, varies
from convlint.program.state import LARGEST_UNROLLED
from convlint.program.walk import Walk

COMPUTED = Origin("computed")

_BINARY: dict[type[ast.operator], tuple[str, Callable[[Any, Any], Any] | None]] = {
    ast.Add: ("add", operator.add),
    ast.Sub: ("sub", operator.sub),
    ast.Mult: ("mul", operator.mul),
    ast.Div: ("div", operator.truediv),
    ast.FloorDiv: ("floordiv", operator.floordiv),
    ast.Mod: ("mod", operator.mod),
    ast.Pow: ("pow", operator.pow),
    ast.MatMult: ("matmul", None),
    ast.BitAnd: ("and", None),
    ast.BitOr: ("or", None),
    ast.BitXor: ("xor", None),
    ast.LShift: ("lshift", None),
    ast.RShift: ("rshift", None),
}


_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


_SYMBOLS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}


class Operators(Walk):
    """Unary, binary, boolean and comparison operators."""

    def _unary(self, node: ast.UnaryOp, scope: Scope) -> Abstract:
        value = self.evaluate(node.operand, scope)
        if isinstance(node.op, ast.Not):
            truth = self.truth(value)
            return UNKNOWN if truth is None else Const(not truth, COMPUTED)
        if isinstance(value, Const) and isinstance(value.value, (int, float)):
            if isinstance(node.op, ast.USub):
                return Const(-value.value, value.origin, value.certain)
            return value if isinstance(node.op, ast.UAdd) else UNKNOWN
        if isinstance(node.op, ast.USub) and varies(value):
            return combined(operator.neg, (value,))
        if isinstance(value, Tensor):
            op = "neg" if isinstance(node.op, ast.USub) else "invert"
            return self.new_flow(op, (value.flow,), site=Site(scope.module, node))
        return UNKNOWN

    def _binary(self, node: ast.BinOp, scope: Scope) -> Abstract:
        left = self.evaluate(node.left, scope)
        right = self.evaluate(node.right, scope)
        return self.binary(type(node.op), left, right, Site(scope.module, node))

    def binary(
        self, op: type[ast.operator], left: Abstract, right: Abstract, site: Site
    ) -> Abstract:
        """``left op right``."""
        name, function = _BINARY.get(op, ("", None))
        if isinstance(left, Const) and isinstance(right, Const):
            if op is ast.Div and isinstance(left.value, str) and isinstance(right.value, str):
                return Const(posixpath.join(left.value, right.value), COMPUTED, False)
            return _fold(function, left, right)
        if isinstance(left, CurrentRate) or isinstance(right, CurrentRate):
            return self._scaled_rate(op, left, right, site)
        if varies(left, right):
            return combined(_power if name == "pow" else function, (left, right))
        if name == "or" and isinstance(left, Map) and isinstance(right, Map):
            return Map({**left.items, **right.items}, left.complete and right.complete, left.node)
        if name == "add" and isinstance(left, Seq) and isinstance(right, Seq):
            return Seq(
                left.kind, left.items + right.items, left.complete and right.complete, left.node
            )
        if name == "add":
            lists = [v for v in (left, right) if not (isinstance(v, Seq) and not v.items)]
            gathered = merged_parameters(lists)
            if gathered is not None and not any(
                isinstance(v, Parameters) and v.single for v in lists
            ):
                return gathered
        if name == "mul" and isinstance(left, Seq):
            repeats = right.value if isinstance(right, Const) else None
            if isinstance(repeats, int) and 0 <= repeats * len(left.items) <= LARGEST_UNROLLED:
                return Seq(left.kind, left.items * repeats, left.complete, left.node)
            return Seq(left.kind, left.items, False, left.node)
        tensors = [v for v in (left, right) if self._is_tensor_like(v)]
        if tensors:
            inputs = tuple(
                f for f in (self.as_flow(left, site), self.as_flow(right, site)) if f is not None
            )
            args = {}
            if not self._is_tensor_like(left):
                args["left"] = Argument(left)
            if not self._is_tensor_like(right):
                args["right"] = Argument(right)
            return self.new_flow(name or "binary", inputs, args=args, site=site)
        if isinstance(left, Choice) and isinstance(right, Const):
            return self.join([self.binary(op, option, right, site) for option in left.options])
        if isinstance(right, Choice) and isinstance(left, Const):
            return self.join([self.binary(op, left, option, site) for option in right.options])
        return UNKNOWN

    def _scaled_rate(
        self, op: type[ast.operator], left: Abstract, right: Abstract, site: Site
    ) -> Abstract:
        """A learning rate that was read, times or over something else."""
        if isinstance(right, CurrentRate) and op is ast.Mult:
            left, right = right, left
        if not isinstance(left, CurrentRate) or isinstance(right, CurrentRate):
            return UNKNOWN
        if op is ast.Mult:
            factor = right if left.factor is None else self.binary(op, left.factor, right, site)
        elif op is ast.Div:
            factor = self.binary(op, left.factor or Const(1.0), right, site)
        else:
            return UNKNOWN
        return CurrentRate(left.optimizer, factor)

    def _is_tensor_like(self, value: Abstract) -> bool:
        if isinstance(value, Choice):
            return any(isinstance(o, Tensor) for o in value.options)
        return isinstance(value, Tensor)

    def _boolean(self, node: ast.BoolOp, scope: Scope) -> Abstract:
        is_and = isinstance(node.op, ast.And)
        left = self.evaluate(node.values[0], scope)
        for value in node.values[1:]:
            truth = self.truth(left)
            if truth is not None and truth is not is_and:
                return left
            right = self.evaluate(value, scope)
            left = right if truth is not None else self._either(left, right, is_and)
        return left

    def _either(self, left: Abstract, right: Abstract, is_and: bool) -> Abstract:
        if isinstance(left, Indexed):
            both = combined(lambda a, b: bool(a and b) if is_and else bool(a or b), (left, right))
            if both is not UNKNOWN:
                return both
        return self.join([left, right])

    def _comparison(self, node: ast.Compare, scope: Scope) -> Abstract:
        left = self.evaluate(node.left, scope)
        if len(node.ops) != 1:
            for comparator in node.comparators:
                self.evaluate(comparator, scope)
            return UNKNOWN
        right = self.evaluate(node.comparators[0], scope)
        kind = type(node.ops[0])
        if kind in (ast.Is, ast.IsNot):
            return self._identity(left, right, kind is ast.Is)
        if kind in (ast.In, ast.NotIn):
            return self._membership(left, right, kind is ast.In)
        if _is_nan(left) or _is_nan(right):
            return self._compared(kind, left, right, Site(scope.module, node))
        if isinstance(left, Const) and isinstance(right, Const):
            try:
                result = bool(_COMPARE[kind](left.value, right.value))
            except (TypeError, KeyError):
                return UNKNOWN
            return Const(result, COMPUTED, left.certain and right.certain)
        if self._is_tensor_like(left) or self._is_tensor_like(right):
            return self._compared(kind, left, right, Site(scope.module, node))
        if varies(left, right):
            return combined(_COMPARE.get(kind), (left, right))
        return UNKNOWN

    def _compared(
        self, kind: type[ast.cmpop], left: Abstract, right: Abstract, site: Site
    ) -> Abstract:
        inputs = tuple(
            f for f in (self.as_flow(left, site), self.as_flow(right, site)) if f is not None
        )
        args = {"operator": Argument(Const(_SYMBOLS.get(kind, "")))}
        if isinstance(left, Const):
            args["left"] = Argument(left)
        if isinstance(right, Const):
            args["right"] = Argument(right)
        return self.new_flow("compare", inputs, args=args, site=site, detached=True)

    def _identity(self, left: Abstract, right: Abstract, positive: bool) -> Abstract:
        if isinstance(right, Const) and right.value is None:
            if isinstance(left, Const):
                return Const((left.value is None) is positive, COMPUTED, left.certain)
            if isinstance(left, (Seq, Map, Tensor, Function, Class, Library)) or (
                isinstance(left, Instance) and left.kind is not ObjectKind.SYMBOL
            ):
                return Const(not positive, COMPUTED)
        return UNKNOWN

    def _membership(self, left: Abstract, right: Abstract, positive: bool) -> Abstract:
        if isinstance(left, Indexed):
            return combined(lambda a, b: (a in b) is positive, (left, right))
        if not isinstance(left, Const):
            return UNKNOWN
        if isinstance(right, Seq) and right.complete:
            constants = [item for item in right.items if isinstance(item, Const)]
            if len(constants) == len(right.items):
                found = any(item.value == left.value for item in constants)
                return Const(found is positive, COMPUTED, left.certain)
        if isinstance(right, Map) and right.complete:
            return Const((left.value in right.items) is positive, COMPUTED, left.certain)
        if (
            isinstance(right, Const)
            and isinstance(right.value, str)
            and isinstance(left.value, str)
        ):
            found = left.value in right.value
            return Const(found is positive, COMPUTED, left.certain and right.certain)
        return UNKNOWN

    def truth(self, value: Abstract) -> bool | None:
        """The truth value when it cannot be otherwise; None when a user can change it."""
        if isinstance(value, Const):
            return bool(value.value) if value.certain else None
        if isinstance(value, (Seq, Map)):
            return bool(value.items) if value.complete else None
        if isinstance(value, (Function, Class, Library)):
            return True
        return None

    def _conditional(self, node: ast.IfExp, scope: Scope) -> Abstract:
        test = self.evaluate(node.test, scope)
        truth = self.truth(test)
        if truth is not None:
            return self.evaluate(node.body if truth else node.orelse, scope)
        results: list[Abstract] = []
        for part, negated in ((node.body, False), (node.orelse, True)):
            self.conditions.append(Condition(Site(scope.module, node.test), negated))
            results.append(self.evaluate(part, scope))
            self.conditions.pop()
        if isinstance(test, Indexed):
            chosen = selected(test, *results)
            if chosen is not UNKNOWN:
                return chosen
        return self.join(results)


def _power(base: float, exponent: float) -> Any:
    return float(base) ** exponent


def _is_nan(value: Abstract) -> bool:
    return (
        isinstance(value, Const) and isinstance(value.value, float) and value.value != value.value
    )


def _fold(function: Callable[[Any, Any], Any] | None, left: Const, right: Const) -> Abstract:
    if function is None:
        return UNKNOWN
    if isinstance(left.value, str) != isinstance(right.value, str) or None in (
        left.value,
        right.value,
    ):
        return UNKNOWN
    if function is operator.pow and isinstance(right.value, (int, float)) and abs(right.value) > 64:
        return UNKNOWN
    try:
        value = function(left.value, right.value)
    except (ArithmeticError, TypeError, ValueError):
        return UNKNOWN
    if isinstance(value, complex) or (isinstance(value, int) and abs(value) > 2**63):
        return UNKNOWN
    origin = next(
        (
            o
            for o in (left.origin, right.origin)
            if o is not None and o.kind not in ("literal", "computed")
        ),
        COMPUTED,
    )
    return Const(value, origin, left.certain and right.certain)
