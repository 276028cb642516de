"""Loops: walked once as training loops, item by item where they build or apply a model."""

from __future__ import annotations

import ast
from typing import Any

from convlint.program.branches import Branches
from convlint.program.domain import (
    UNKNOWN,
    Abstract,
    Const,
    Function,
    Instance,
    Iterated,
    Layers,
    LoopRange,
    Map,
    Scope,
    Seq,
    Site,
    Tensor,
)
from convlint.program.drafts import (
    CarriedDraft,
    LoopDraft,
)
from convlint.program.facts import Origin
from convlint.program.indexed import elements
from convlint.program.lengths import length_of
from convlint.program.syntax import (
    FUNCTIONS,
    ForNode,
    LoopNode,
    argument_values,
    descendants,
    dotted,
    unstarred,
)

_LONGEST_UNROLLED_LOOP = 40


class Loops(Branches):
    """Statements that repeat."""

    def _for(self, statement: ForNode, scope: Scope) -> str | None:
        iterable = self.evaluate(statement.iter, scope)
        site = Site(scope.module, statement)
        items = self._unrolled(statement, iterable)
        if items is not None:
            return self._run_unrolled(statement, items, scope)
        self._widen(statement, scope)
        loop = self._begin_loop(site, "for", iterable, statement.target)
        if isinstance(iterable, Iterated) and iterable.one_shot:
            in_head = iterable.site is not None and iterable.site.node is statement.iter
            loop.iterator = None if in_head else iterable
        element = self._loop_element(iterable, Site(scope.module, statement.iter))
        if isinstance(iterable, LoopRange):
            element = elements(loop.id, iterable) or element
        self.bind_target(statement.target, element, scope)
        self._run_loop(loop, statement, scope)
        return self.execute(statement.orelse, scope)

    def _loop_element(self, iterable: Abstract, site: Site) -> Abstract:
        if (
            isinstance(iterable, Seq)
            and iterable.items
            and all(isinstance(i, Const) for i in iterable.items)
        ):
            return UNKNOWN
        return self.element_of(iterable, site)

    def _unrolled(self, statement: ForNode, iterable: Abstract) -> list[Abstract] | None:
        """Loops over known modules and, while a model is built or applied, known ranges, are
        walked item by item; training loops are walked once."""
        items = self.known_items(iterable)
        if items is None or len(items) > _LONGEST_UNROLLED_LOOP:
            return None
        if self.forward_depth > 0 or _collects_parts(statement):
            return items
        if isinstance(iterable, (LoopRange, Map)):
            return None
        if isinstance(iterable, Iterated) and iterable.kind == "enumerate":
            inner = iterable.sources[0]
            return (
                items if not isinstance(inner, LoopRange) and self._holds_objects(items) else None
            )
        if (
            all(isinstance(i, Const) and isinstance(i.value, str) for i in items)
            and len(items) <= 4
        ):
            return items
        return items if self._holds_objects(items) else None

    def _holds_objects(self, items: list[Abstract]) -> bool:
        def holds(value: Abstract) -> bool:
            if isinstance(value, Seq):
                return any(holds(item) for item in value.items)
            return isinstance(value, (Instance, Layers, Function))

        return any(holds(item) for item in items)

    def _run_unrolled(self, statement: ForNode, items: list[Abstract], scope: Scope) -> str | None:
        for item in items:
            self.bind_target(statement.target, item, scope)
            status = self.execute(statement.body, scope)
            if status in ("return", "raise"):
                return status
            if status == "break":
                return None
        return self.execute(statement.orelse, scope)

    def _begin_loop(
        self, site: Site, kind: str, iterable: Abstract, target: ast.expr | None
    ) -> LoopDraft:
        self.loop_count += 1
        trips: Abstract = UNKNOWN
        over = iterable
        if isinstance(iterable, LoopRange):
            trips, over = iterable.trips, UNKNOWN
        elif isinstance(iterable, Iterated):
            over = iterable.sources[0]
            if isinstance(over, LoopRange):
                trips, over = over.trips, UNKNOWN
        elif isinstance(iterable, Seq) and iterable.complete:
            trips, over = Const(len(iterable.items), Origin("computed")), UNKNOWN
        length = length_of(self, over) if isinstance(over, Instance) else None
        if length is not None:
            trips = Const(length, Origin("computed", "batches of the loader"), certain=False)
        if isinstance(over, Tensor):
            flow = self.flows[over.flow]
            over = flow.source if flow.source is not None else UNKNOWN
        if isinstance(target, ast.Tuple) and target.elts:
            target = target.elts[0]
        name = target.id if isinstance(target, ast.Name) else ""
        return LoopDraft(self.loop_count, site, kind, over, trips, name, [])

    def _run_loop(self, loop: LoopDraft, statement: LoopNode, scope: Scope) -> None:
        outer, self.block = self.block, loop.body
        names = [n for n in sorted(assigned_names(statement)) if n in scope.names]
        before = {name: self._tensors_of(scope.names[name]) for name in names}
        self.loops.append(loop.id)
        conditions = len(self.conditions)
        self.loop_statements.append(statement)
        try:
            loop.ends = self.execute(statement.body, scope)
        finally:
            del self.conditions[conditions:]
            self.loops.pop()
            self.loop_statements.pop()
            self.block = outer
        for name, entering in before.items():
            leaving = self._tensors_of(scope.names.get(name, UNKNOWN))
            if entering and leaving and entering != leaving:
                loop.carried.append(CarriedDraft(name, entering, leaving))
        if loop.body:
            self.block.append(loop)

    def _while(self, statement: ast.While, scope: Scope) -> str | None:
        self._widen(statement, scope)
        self.evaluate(statement.test, scope)
        loop = self._begin_loop(Site(scope.module, statement), "while", UNKNOWN, None)
        self._run_loop(loop, statement, scope)
        return None

    def _tensors_of(self, value: Abstract) -> tuple[int, ...]:
        """The flows in a tensor, a tuple of tensors or a symbol used as one."""
        if isinstance(value, Seq):
            return tuple(flow for item in value.items for flow in self._tensors_of(item))
        if isinstance(value, Instance) and "<flow>" not in value.attributes:
            return ()
        flow = self.as_flow(value, None)
        return () if flow is None else (flow,)

    def _widen(self, statement: LoopNode, scope: Scope) -> None:
        """Names a loop reassigns hold no constant while it runs."""
        for name in assigned_names(statement):
            value = scope.names.get(name)
            if not isinstance(value, Const):
                continue
            scope.before_loops.setdefault(name, value)
            if value.value is None and _feeds_itself(statement, name):
                # a recurrent state that starts as None: its later values are tensors
                symbol = self.new_symbol(name, Site(scope.module, statement))
                self.as_flow(symbol, symbol.site)
                self.write(scope.names, name, symbol)
            else:
                self.write(scope.names, name, UNKNOWN)


_collecting: dict[int, tuple[ForNode, bool]] = {}


def _collects_parts(statement: ForNode) -> bool:
    """Whether a loop only gathers constructed things in a list, as functions that build a model
    layer by layer do: ``layers += [nn.Linear(a, b), nn.ReLU()]``."""
    known = _collecting.get(id(statement))
    if known is None or known[0] is not statement:
        known = _collecting[id(statement)] = (statement, _only_collects(statement.body))
    return known[1]


def _only_collects(body: list[ast.stmt]) -> bool:
    gathers = False
    for statement in body:
        if isinstance(statement, ast.If):
            gathers = gathers or _only_collects(statement.body)
        elif isinstance(statement, ast.AugAssign):
            if isinstance(statement.value, ast.List):
                elements = unstarred(statement.value.elts)
                gathers = gathers or any(isinstance(element, ast.Call) for element in elements)
        elif isinstance(statement, ast.Expr):
            call = statement.value
            if not (
                isinstance(call, ast.Call)
                and isinstance(call.func, ast.Attribute)
                and call.func.attr in ("append", "extend", "add_module")
            ):
                return False
            gathers = gathers or any(isinstance(a, ast.Call) for a in argument_values(call))
        elif not isinstance(statement, ast.Assign):
            return False
    return gathers


def _feeds_itself(statement: LoopNode, name: str) -> bool:
    """Whether the loop assigns ``name`` from a call that receives it: ``y, h = model(x, h)``."""
    for node in descendants(statement.body):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            names: set[str] = set()
            _collect_names(node.targets[0], names)
            if name in names and name in map(dotted, argument_values(node.value)):
                return True
    return False


_assigned: dict[int, tuple[ast.AST, frozenset[str]]] = {}


def assigned_names(statement: ast.AST) -> frozenset[str]:
    """Names a statement assigns anywhere inside it (nested functions aside)."""
    known = _assigned.get(id(statement))
    if known is not None and known[0] is statement:
        return known[1]
    names: set[str] = set()
    stack: list[Any] = [statement]
    while stack:
        node = stack.pop()
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            continue
        target = getattr(node, "target", None)
        if target is not None:
            _collect_names(target, names)
        for assigned in getattr(node, "targets", ()):
            _collect_names(assigned, names)
        for part in ("body", "orelse", "finalbody", "handlers"):
            stack.extend(getattr(node, part, ()))
    result = frozenset(names)
    _assigned[id(statement)] = (statement, result)
    return result


def _collect_names(target: ast.expr, names: set[str]) -> None:
    if isinstance(target, ast.Name):
        names.add(target.id)
    elif isinstance(target, (ast.Tuple, ast.List)):
        for element in unstarred(target.elts):
            _collect_names(element, names)
