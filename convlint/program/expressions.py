"""Evaluating expressions: names, constants, arithmetic, displays, subscripts, attributes."""

from __future__ import annotations

import math
import operator
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import libcst as cst

from convlint.program.domain import (
    UNKNOWN,
    Abstract,
    Argument,
    Choice,
    Class,
    Const,
    Function,
    Instance,
    Iterated,
    Layers,
    Library,
    LibraryMethod,
    LoopRange,
    Map,
    ParameterGroups,
    Parameters,
    ProjectModule,
    Scope,
    Seq,
    Site,
    Tensor,
    Unknown,
)
from convlint.program.facts import ObjectKind, Origin, Scalar
from convlint.program.libraries.kinds import canonical
from convlint.program.libraries.operations import DETACHING, SIZE_ATTRIBUTES
from convlint.program.state import State

LARGEST_UNROLLED = 40
"""Comprehensions and loops over more known items than this are walked once."""

_BINARY: dict[type[cst.BaseBinaryOp], tuple[str, Callable[[Any, Any], Any] | None]] = {
    cst.Add: ("add", operator.add),
    cst.Subtract: ("sub", operator.sub),
    cst.Multiply: ("mul", operator.mul),
    cst.Divide: ("div", operator.truediv),
    cst.FloorDivide: ("floordiv", operator.floordiv),
    cst.Modulo: ("mod", operator.mod),
    cst.Power: ("pow", operator.pow),
    cst.MatrixMultiply: ("matmul", None),
    cst.BitAnd: ("and", None),
    cst.BitOr: ("or", None),
    cst.BitXor: ("xor", None),
    cst.LeftShift: ("lshift", None),
    cst.RightShift: ("rshift", None),
}

_COMPARE: dict[type[cst.BaseCompOp], Callable[[Any, Any], Any]] = {
    cst.Equal: operator.eq,
    cst.NotEqual: operator.ne,
    cst.LessThan: operator.lt,
    cst.LessThanEqual: operator.le,
    cst.GreaterThan: operator.gt,
    cst.GreaterThanEqual: operator.ge,
}

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


class Expressions(State):
    """Evaluation of everything that is not a call."""

    @abstractmethod
    def call(self, node: cst.Call, scope: Scope) -> Abstract:
        """Evaluate a call."""

    @abstractmethod
    def method_of(self, receiver: Abstract, name: str) -> Abstract | None:
        """The project method ``name`` of an instance, bound to it; None when there is none."""

    @abstractmethod
    def element_of(self, iterable: Abstract, site: Site) -> Abstract:
        """What one iteration over ``iterable`` yields."""

    @abstractmethod
    def bind_target(self, target: cst.BaseExpression, value: Abstract, scope: Scope) -> None:
        """Assign ``value`` to an assignment target."""

    @abstractmethod
    def known_items(self, iterable: Abstract) -> list[Abstract] | None:
        """The items of ``iterable`` when all are known and few, else None."""

    @abstractmethod
    def call_function(
        self,
        function: Function,
        arguments: list[Abstract],
        keywords: dict[str, Abstract],
        site: Site,
    ) -> Abstract:
        """Walk a project function with these arguments and return what it returns."""

    def evaluate(self, node: cst.BaseExpression, scope: Scope) -> Abstract:
        """The abstract value of an expression."""
        handler = _HANDLERS.get(type(node))
        return handler(self, node, scope) if handler is not None else UNKNOWN

    # Names and constants.

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
            return Const(_CONSTANT_NAMES[node.value], _LITERAL)
        return Library("builtins." + node.value) if node.value in _BUILTINS else UNKNOWN

    def _integer(self, node: cst.Integer, scope: Scope) -> Abstract:
        try:
            return Const(node.evaluated_value, _LITERAL)
        except ValueError:
            return UNKNOWN

    def _float(self, node: cst.Float, scope: Scope) -> Abstract:
        return Const(node.evaluated_value, _LITERAL)

    def _string(self, node: cst.SimpleString, scope: Scope) -> Abstract:
        value = node.evaluated_value
        return Const(value, _LITERAL) if isinstance(value, str) else UNKNOWN

    def _joined_string(self, node: cst.ConcatenatedString, scope: Scope) -> Abstract:
        value = node.evaluated_value
        return Const(value, _LITERAL) if isinstance(value, str) else UNKNOWN

    # Operators.

    def _unary(self, node: cst.UnaryOperation, scope: Scope) -> Abstract:
        value = self.evaluate(node.expression, scope)
        if isinstance(node.operator, cst.Not):
            truth = self.truth(value)
            return UNKNOWN if truth is None else Const(not truth, _COMPUTED)
        if isinstance(value, Const) and isinstance(value.value, (int, float)):
            if isinstance(node.operator, cst.Minus):
                return Const(-value.value, value.origin, value.certain)
            return value if isinstance(node.operator, cst.Plus) else UNKNOWN
        if isinstance(value, Tensor):
            op = "neg" if isinstance(node.operator, cst.Minus) else "invert"
            return self.new_flow(op, (value.flow,), site=Site(scope.module, node))
        return UNKNOWN

    def _binary(self, node: cst.BinaryOperation, scope: Scope) -> Abstract:
        left = self.evaluate(node.left, scope)
        right = self.evaluate(node.right, scope)
        return self.binary(type(node.operator), left, right, Site(scope.module, node))

    def binary(
        self, op: type[cst.BaseBinaryOp], left: Abstract, right: Abstract, site: Site
    ) -> Abstract:
        """``left op right``."""
        name, function = _BINARY.get(op, ("", None))
        if isinstance(left, Const) and isinstance(right, Const):
            return _fold(function, left, right)
        if name == "add" and isinstance(left, Seq) and isinstance(right, Seq):
            return Seq(
                left.kind, left.items + right.items, left.complete and right.complete, left.node
            )
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

    def _is_tensor_like(self, value: Abstract) -> bool:
        if isinstance(value, Choice):
            return any(isinstance(o, Tensor) for o in value.options)
        return isinstance(value, Tensor)

    def _boolean(self, node: cst.BooleanOperation, scope: Scope) -> Abstract:
        left = self.evaluate(node.left, scope)
        truth = self.truth(left)
        is_and = isinstance(node.operator, cst.And)
        if truth is not None and truth is not is_and:
            return left
        right = self.evaluate(node.right, scope)
        return right if truth is not None else self.join([left, right])

    def _comparison(self, node: cst.Comparison, scope: Scope) -> Abstract:
        left = self.evaluate(node.left, scope)
        if len(node.comparisons) != 1:
            for comparison in node.comparisons:
                self.evaluate(comparison.comparator, scope)
            return UNKNOWN
        comparison = node.comparisons[0]
        right = self.evaluate(comparison.comparator, scope)
        kind = type(comparison.operator)
        if kind in (cst.Is, cst.IsNot):
            return self._identity(left, right, kind is cst.Is)
        if kind in (cst.In, cst.NotIn):
            return self._membership(left, right, kind is cst.In)
        if isinstance(left, Const) and isinstance(right, Const):
            try:
                result = bool(_COMPARE[kind](left.value, right.value))
            except (TypeError, KeyError):
                return UNKNOWN
            return Const(result, _COMPUTED, left.certain and right.certain)
        if self._is_tensor_like(left) or self._is_tensor_like(right):
            site = Site(scope.module, node)
            inputs = tuple(
                f for f in (self.as_flow(left, site), self.as_flow(right, site)) if f is not None
            )
            return self.new_flow("compare", inputs, site=site, detached=True)
        return UNKNOWN

    def _identity(self, left: Abstract, right: Abstract, positive: bool) -> Abstract:
        if isinstance(right, Const) and right.value is None:
            if isinstance(left, Const):
                return Const((left.value is None) is positive, _COMPUTED, left.certain)
            if isinstance(left, (Seq, Map, Tensor, Function, Class, Library)) or (
                isinstance(left, Instance) and left.kind is not ObjectKind.SYMBOL
            ):
                return Const(not positive, _COMPUTED)
        return UNKNOWN

    def _membership(self, left: Abstract, right: Abstract, positive: bool) -> Abstract:
        if not isinstance(left, Const):
            return UNKNOWN
        if isinstance(right, Seq) and right.complete:
            constants = [item for item in right.items if isinstance(item, Const)]
            if len(constants) == len(right.items):
                found = any(item.value == left.value for item in constants)
                return Const(found is positive, _COMPUTED, left.certain)
        if isinstance(right, Map) and right.complete:
            return Const((left.value in right.items) is positive, _COMPUTED, left.certain)
        if (
            isinstance(right, Const)
            and isinstance(right.value, str)
            and isinstance(left.value, str)
        ):
            found = left.value in right.value
            return Const(found is positive, _COMPUTED, left.certain and right.certain)
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

    def _conditional(self, node: cst.IfExp, scope: Scope) -> Abstract:
        truth = self.truth(self.evaluate(node.test, scope))
        if truth is not None:
            return self.evaluate(node.body if truth else node.orelse, scope)
        return self.join([self.evaluate(node.body, scope), self.evaluate(node.orelse, scope)])

    # Displays.

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
            return Parameters(owner.owners, owner.resolved, view=owner.view)
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

    # Subscripts.

    def _subscript(self, node: cst.Subscript, scope: Scope) -> Abstract:
        value = self.evaluate(node.value, scope)
        site = Site(scope.module, node)
        key: Abstract = UNKNOWN
        if len(node.slice) == 1:
            element = node.slice[0].slice
            if isinstance(element, cst.Index):
                key = self.evaluate(element.value, scope)
            else:
                return self._slice(value, element, scope, site)
        else:
            key = Seq("tuple", [], False)
        return self.item(value, key, site)

    def _slice(self, value: Abstract, part: cst.BaseSlice, scope: Scope, site: Site) -> Abstract:
        if isinstance(value, Seq) and isinstance(part, cst.Slice):
            bounds: list[Any] = []
            for bound in (part.lower, part.upper, part.step):
                constant = self.evaluate(bound, scope) if bound is not None else Const(None)
                if not (
                    isinstance(constant, Const)
                    and (constant.value is None or isinstance(constant.value, int))
                ):
                    return Seq(value.kind, value.items, False, value.node)
                bounds.append(constant.value)
            if value.complete and bounds[2] != 0:
                return Seq(value.kind, value.items[slice(*bounds)], True, value.node)
            return Seq(value.kind, value.items, False, value.node)
        if isinstance(value, Instance) and value.cls == "torch.nn.Sequential":
            return value
        return self.item(value, UNKNOWN, site)

    def item(self, value: Abstract, key: Abstract, site: Site) -> Abstract:
        """``value[key]``."""
        constant = key.value if isinstance(key, Const) else None
        if isinstance(value, Seq):
            if (
                isinstance(constant, int)
                and value.complete
                and -len(value.items) <= constant < len(value.items)
            ):
                return value.items[constant]
            return self.join(list(value.items)) if value.items else UNKNOWN
        if isinstance(value, Map):
            if isinstance(key, Const):
                return value.items.get(key.value, UNKNOWN)
            return self.join(list(value.items.values())) if value.items else UNKNOWN
        if isinstance(value, Tensor):
            flow = self.flows[value.flow]
            if (
                flow.op == "<batch>"
                and isinstance(key, Const)
                and flow.index is None
                and isinstance(constant, (int, str))
            ):
                return self._batch_item(value, constant, site)
            return self.new_flow("getitem", (value.flow,), args={"index": Argument(key)}, site=site)
        if isinstance(value, Instance):
            if value.kind in (ObjectKind.LAYER, ObjectKind.MODEL) and value.children:
                named = value.children.get(str(constant)) if constant is not None else None
                if (
                    named is None
                    and isinstance(constant, int)
                    and -len(value.children) <= constant < 0
                ):
                    named = list(value.children.values())[constant]
                return named if named is not None else self.join(list(value.children.values()))
            if value.kind is ObjectKind.DATASET:
                return self.new_flow("<batch>", source=value, site=site)
            if value.kind is ObjectKind.INSTANCE:
                method = self.method_of(value, "__getitem__")
                if isinstance(method, Function):
                    return self.call_function(method, [key], {}, site)
                if isinstance(constant, str) and constant in value.attributes:
                    return value.attributes[constant]
            if value.kind is ObjectKind.SYMBOL:
                return self.symbol_part(
                    value, f"[{constant!r}]" if isinstance(key, Const) else "[?]", site
                )
            return UNKNOWN
        if isinstance(value, ParameterGroups):
            return UNKNOWN if value.single else ParameterGroups(value.optimizer, single=True)
        if isinstance(value, Choice):
            return self.join([self.item(option, key, site) for option in value.options])
        if isinstance(value, Parameters):
            return Parameters(value.owners, value.resolved, single=True, view=value.view)
        return UNKNOWN

    def _batch_item(self, batch: Tensor, key: int | str, site: Site) -> Tensor:
        flow = self.flows[batch.flow]
        index = key if isinstance(key, int) else None
        args = {"key": Argument(Const(key))}
        return self.new_flow(
            "<batch>", (batch.flow,), source=flow.source, index=index, args=args, site=site
        )

    # Attributes.

    def _attribute(self, node: cst.Attribute, scope: Scope) -> Abstract:
        return self.attribute(
            self.evaluate(node.value, scope), node.attr.value, Site(scope.module, node)
        )

    def attribute(self, value: Abstract, name: str, site: Site) -> Abstract:
        """``value.name``."""
        if isinstance(value, Library):
            return self._library_attribute(value, name)
        if isinstance(value, Instance):
            return self._instance_attribute(value, name, site)
        if isinstance(value, Tensor):
            return self._tensor_attribute(value, name, site)
        if isinstance(value, ProjectModule):
            found = value.scope.names.get(name)
            return found if found is not None else UNKNOWN
        if isinstance(value, Class):
            return value.members.get(name, UNKNOWN)
        if isinstance(value, Parameters):
            if name in ("data", "grad"):
                return Parameters(
                    value.owners,
                    value.resolved,
                    True,
                    value.attribute,
                    view="grad" if "grad" in (name, value.view) else name,
                )
            return LibraryMethod(value, name)
        if isinstance(value, ParameterGroups):
            return LibraryMethod(value, name)
        if isinstance(value, Layers):
            if name in ("weight", "bias"):
                return Parameters(value.instances, single=True, attribute=name)
            return LibraryMethod(value, name)
        if isinstance(value, Choice):
            return self._choice_attribute(value, name, site)
        if isinstance(value, (Seq, Map, Const, Iterated, LoopRange)):
            return LibraryMethod(value, name)
        return UNKNOWN

    def _choice_attribute(self, value: Choice, name: str, site: Site) -> Abstract:
        options = something(value)
        instances = [o for o in options if isinstance(o, Instance)]
        if instances and len(instances) == len(options):
            leaders = {o.leader.id: o.leader for o in instances}
            if len(leaders) == 1:
                return self.attribute(next(iter(leaders.values())), name, site)
        return self.join([self.attribute(o, name, site) for o in options]) if options else UNKNOWN

    def _library_attribute(self, value: Library, name: str) -> Abstract:
        qualified = canonical(f"{value.name}.{name}")
        constant = _LIBRARY_CONSTANTS.get(qualified)
        return Const(constant, _LITERAL) if constant is not None else Library(qualified)

    def _instance_attribute(self, value: Instance, name: str, site: Site) -> Abstract:
        if name in value.attributes:
            return value.attributes[name]
        if name in value.children:
            return value.children[name]
        method = self.method_of(value, name)
        if method is not None:
            return method
        kind = value.kind
        if kind is ObjectKind.OPTIMIZER and name == "param_groups":
            return ParameterGroups(value)
        if value.is_module and name in ("weight", "bias") and kind is ObjectKind.LAYER:
            return Parameters((value,), single=True, attribute=name)
        if kind is ObjectKind.SCHEDULER and name == "optimizer":
            argument = value.args.get("optimizer")
            return argument.value if argument is not None else UNKNOWN
        if (
            kind is ObjectKind.LIBRARY
            and name in ("data", "target", "images")
            and value.cls.startswith("sklearn.datasets.")
        ):
            flow = self.new_flow(
                "<array>", name=value.cls, index=1 if name == "target" else 0, site=value.site
            )
            value.attributes[name] = flow
            return flow
        if kind in (ObjectKind.LOADER, ObjectKind.DATASET) and name in value.args:
            return value.args[name].value
        if kind is ObjectKind.SYMBOL:
            if name in _SYMBOL_METHODS:
                return LibraryMethod(value, name)
            if name == "param_groups":
                value.methods.add(name)
                return ParameterGroups(value)
            return self.symbol_part(value, name, site)
        if kind is ObjectKind.LAYER and name not in _MODULE_METHODS:
            # A named part of a library model (resnet.fc, backbone.features).
            part = self.new_instance(ObjectKind.LAYER, f"{value.cls}.{name}", site)
            part.complete = False
            part.parent = value
            self.write(value.attributes, name, part)
            return part
        return LibraryMethod(value, name)

    def symbol_part(self, owner: Instance, name: str, site: Site) -> Abstract:
        """A part of a symbol is a symbol too, the same one each time."""
        existing = owner.attributes.get(name)
        if existing is None:
            base = owner.names[0] if owner.names else "?"
            existing = self.new_symbol(
                f"{base}{name}" if name.startswith("[") else f"{base}.{name}", site
            )
            owner.attributes[name] = existing
        return existing

    def _tensor_attribute(self, value: Tensor, name: str, site: Site) -> Abstract:
        flow = self.flows[value.flow]
        if name in SIZE_ATTRIBUTES:
            return UNKNOWN
        if name in DETACHING and name == "data":
            return self.new_flow("data", (value.flow,), site=site, detached=True)
        if flow.op == "<batch>" and flow.index is None and name not in _TENSOR_METHODS:
            args = {"key": Argument(Const(name))}
            index = {"x": 0, "y": 1}.get(name)
            return self.new_flow(
                "<batch>", (value.flow,), source=flow.source, index=index, args=args, site=site
            )
        if name in ("T", "mT", "real", "grad"):
            return self.new_flow(name, (value.flow,), site=site, detached=name == "grad")
        if name == "values" and flow.op == "<array>":
            return value
        return LibraryMethod(value, name)


def something(choice: Choice) -> list[Abstract]:
    """The options that are something: a call or attribute of None would have raised, and what is
    unknown is taken to behave like the known options beside it."""
    return [
        o
        for o in choice.options
        if not isinstance(o, Unknown) and not (isinstance(o, Const) and o.value is None)
    ]


_LITERAL = Origin("literal")
_COMPUTED = Origin("computed")
_CONSTANT_NAMES: dict[str, Scalar] = {"True": True, "False": False, "None": None}
_LIBRARY_CONSTANTS: dict[str, Scalar] = {
    "math.pi": math.pi,
    "math.e": math.e,
    "math.inf": math.inf,
    "numpy.pi": math.pi,
    "numpy.inf": math.inf,
    "torch.inf": math.inf,
    "torch.pi": math.pi,
}

_MODULE_METHODS = frozenset(
    {
        "parameters", "named_parameters", "modules", "named_modules", "children", "named_children",
        "train", "eval", "zero_grad", "to", "cuda", "cpu", "half", "float", "double", "bfloat16",
        "apply", "state_dict", "load_state_dict", "requires_grad_", "register_buffer",
        "register_parameter", "add_module", "register_module", "buffers", "named_buffers",
        "append", "extend", "insert", "items", "values", "keys", "forward", "training",
        "register_forward_hook", "share_memory", "compile", "no_sync", "reset_parameters",
        "register_full_backward_hook", "get_submodule", "get_parameter", "type", "__call__",
        "save_pretrained", "gradient_checkpointing_enable", "config",
    }
)  # fmt: skip

_SYMBOL_METHODS = frozenset(
    {
        "parameters", "named_parameters", "modules", "named_modules", "children", "train", "eval",
        "zero_grad", "step", "backward", "scale", "unscale_", "update", "to", "cuda", "cpu",
        "apply", "state_dict", "load_state_dict", "item", "detach", "size", "float", "long",
        "view", "reshape", "flatten", "unsqueeze", "squeeze", "permute", "transpose",
        "contiguous", "mean", "sum", "clip_grad_norm_", "clip_grad_value_", "prepare",
        "accumulate", "autocast", "no_sync", "get_last_lr", "add_param_group", "requires_grad_",
        "append", "items", "values", "keys", "format", "join", "numpy", "half", "double", "type",
        "argmax", "max", "min", "eq", "softmax", "log_softmax", "sigmoid", "expand", "repeat",
        "manual_backward", "forward", "register_buffer", "set_postfix", "set_description",
        "add_scalar", "write", "log", "info", "split", "chunk", "norm", "clone", "t",
    }
)  # fmt: skip

_TENSOR_METHODS = _SYMBOL_METHODS | frozenset(
    {"shape", "device", "dtype", "batch_size", "num_graphs"}
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
        _COMPUTED,
    )
    return Const(value, origin, left.certain and right.certain)


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
