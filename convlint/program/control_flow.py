"""Branches, loops and contexts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import libcst as cst

from convlint.program.assignment import Assignment
from convlint.program.domain import (
    UNKNOWN,
    Abstract,
    Choice,
    Condition,
    Const,
    Function,
    Indexed,
    Instance,
    Iterated,
    Layers,
    Library,
    LoopRange,
    Map,
    Scope,
    Seq,
    Site,
    Tensor,
)
from convlint.program.drafts import (
    ArmDraft,
    BranchDraft,
    CarriedDraft,
    LoopDraft,
)
from convlint.program.facts import Origin
from convlint.program.indexed import elements
from convlint.program.lengths import length_of
from convlint.program.monitoring import Monitoring, descendants, dotted

_LONGEST_UNROLLED_LOOP = 40


_LONGEST_CONDITION = 80


class ControlFlow(Assignment, Monitoring):
    """Compound statements."""

    def _if(self, statement: cst.If, scope: Scope) -> str | None:
        test = self.evaluate(statement.test, scope)
        self.note_monitoring(statement, scope)
        truth = self.truth(test)
        if self._is_main_guard(statement.test, scope):
            truth = not self.importing
        if self._is_type_checking(test):
            truth = False
        holds = Condition(Site(scope.module, statement.test), negated=False)
        if truth is True:
            return self._under(holds, lambda: self.execute(statement.body, scope))
        otherwise = statement.orelse
        if truth is False:
            return self._orelse(otherwise, scope)
        guard = self._class_guard(statement.test, scope)
        fails = Condition(holds.site, negated=True)
        left: list[str | None] = []

        def body() -> str | None:
            status = self._guarded(guard, lambda: self.execute(statement.body, scope))
            left.append(status)
            return status

        arms: list[Callable[[], str | None]] = [
            lambda: self._under(holds, body),
            lambda: self._under(fails, lambda: self._orelse(otherwise, scope)),
        ]
        outcomes = test if isinstance(test, Indexed) else None
        status = self._branch(Site(scope.module, statement), arms, statement.test, scope, outcomes)
        if status is None and left[0] is not None:
            # What follows in this block runs only where the test failed.
            self.conditions.append(fails)
        return status

    def _under(self, condition: Condition, run: Callable[[], str | None]) -> str | None:
        depth = len(self.conditions)
        self.conditions.append(condition)
        try:
            return run()
        finally:
            del self.conditions[depth:]

    def _orelse(self, otherwise: cst.If | cst.Else | None, scope: Scope) -> str | None:
        if isinstance(otherwise, cst.If):
            return self._if(otherwise, scope)
        return self.execute(otherwise.body, scope) if otherwise is not None else None

    def _guarded(self, guard: tuple[str, ...], run: Callable[[], str | None]) -> str | None:
        if not guard:
            return run()
        self.class_guards.append(guard)
        try:
            return run()
        finally:
            self.class_guards.pop()

    def _class_guard(self, test: cst.BaseExpression, scope: Scope) -> tuple[str, ...]:
        """Library classes named by an ``isinstance(x, ...)`` in the test."""
        if isinstance(test, cst.BooleanOperation):
            return self._class_guard(test.left, scope) or self._class_guard(test.right, scope)
        if not (
            isinstance(test, cst.Call)
            and isinstance(test.func, cst.Name)
            and test.func.value == "isinstance"
            and len(test.args) == 2
        ):
            return ()
        classes = self.evaluate(test.args[1].value, scope)
        options = classes.items if isinstance(classes, Seq) else [classes]
        return tuple(o.name for o in options if isinstance(o, Library))

    def _is_main_guard(self, test: cst.BaseExpression, scope: Scope) -> bool:
        if not (isinstance(test, cst.Comparison) and isinstance(test.left, cst.Name)):
            return False
        return test.left.value == "__name__"

    def _is_type_checking(self, test: Abstract) -> bool:
        return isinstance(test, Library) and test.name == "typing.TYPE_CHECKING"

    def _branch(
        self,
        site: Site,
        runs: list[Callable[[], str | None]],
        test: cst.BaseExpression | None,
        scope: Scope,
        outcomes: Indexed | None = None,
    ) -> str | None:
        outer = self.block
        arms: list[ArmDraft] = []
        writes: list[list[tuple[dict[Any, Any], Any, Any]]] = []
        statuses: list[str | None] = []
        for run in runs:
            self.block = []
            self.begin_arm()
            try:
                status = run()
            finally:
                changed = self.end_arm()
            arms.append(ArmDraft(self.block, status))
            statuses.append(status)
            if status is None:
                writes.append(changed)
        self.block = outer
        if writes:
            self.merge_arms(writes)
        if any(arm.body or arm.ends for arm in arms):
            self.block.append(self._describe_branch(site, arms, test, scope, outcomes))
        if None in statuses:
            return None
        return (
            statuses[0]
            if len(set(statuses)) == 1
            else "return"
            if "return" in statuses
            else statuses[0]
        )

    def _describe_branch(
        self,
        site: Site,
        arms: list[ArmDraft],
        test: cst.BaseExpression | None,
        scope: Scope,
        outcomes: Indexed | None = None,
    ) -> BranchDraft:
        if test is None:
            return BranchDraft(site, arms, "<try>")
        text = scope.module.tree.code_for_node(test)
        return BranchDraft(
            site,
            arms,
            " ".join(text.split())[:_LONGEST_CONDITION],
            modulo="%" in text,
            first_iteration=_compares_with_zero(test),
            guards=self._none_guards(test, scope),
            outcomes=outcomes,
        )

    def _none_guards(self, test: cst.BaseExpression, scope: Scope) -> tuple[Instance, ...]:
        if isinstance(test, cst.BooleanOperation):
            return self._none_guards(test.left, scope) + self._none_guards(test.right, scope)
        subject = test
        if isinstance(test, cst.Comparison) and isinstance(
            test.comparisons[0].operator, (cst.Is, cst.IsNot, cst.NotEqual, cst.Equal)
        ):
            subject = test.left
        if not isinstance(subject, (cst.Name, cst.Attribute)):
            return ()
        value = self.evaluate(subject, scope)
        options = value.options if isinstance(value, Choice) else (value,)
        return tuple(o.leader for o in options if isinstance(o, Instance))

    def _try(self, statement: cst.Try, scope: Scope) -> str | None:
        before = len(self.context)
        self.context.append("try")
        if any(map(_swallows, statement.handlers)):
            self.context.append("swallowed")
        try:
            status = self.execute(statement.body, scope)
        finally:
            del self.context[before:]
        if status is None and statement.orelse is not None:
            status = self.execute(statement.orelse.body, scope)
        for handler in statement.handlers:
            outer, self.block = self.block, []
            self.begin_arm()
            made_before = len(self.instances)
            self.execute(handler.body, scope)
            changed = self.end_arm()
            self.block = outer
            for instance in self.instances[made_before:]:
                # What a handler does is not followed, so nothing may be concluded about its objects.
                instance.escaped = True
            for mapping, key, value in changed:
                if key not in mapping and isinstance(value, Abstract):
                    self.write(mapping, key, value)
        if statement.finalbody is not None:
            final = self.execute(statement.finalbody.body, scope)
            status = final or status
        return status

    def _match(self, statement: cst.Match, scope: Scope) -> str | None:
        self.evaluate(statement.subject, scope)
        runs: list[Callable[[], str | None]] = [
            lambda case=case: self.execute(case.body, scope)  # type: ignore[misc]
            for case in statement.cases
        ]
        return self._branch(
            Site(scope.module, statement), [*runs, lambda: None], statement.subject, scope
        )

    def _for(self, statement: cst.For, scope: Scope) -> str | None:
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
        if statement.orelse is not None:
            return self.execute(statement.orelse.body, scope)
        return None

    def _loop_element(self, iterable: Abstract, site: Site) -> Abstract:
        if (
            isinstance(iterable, Seq)
            and iterable.items
            and all(isinstance(i, Const) for i in iterable.items)
        ):
            return UNKNOWN
        return self.element_of(iterable, site)

    def _unrolled(self, statement: cst.For, iterable: Abstract) -> list[Abstract] | None:
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

    def _run_unrolled(self, statement: cst.For, items: list[Abstract], scope: Scope) -> str | None:
        for item in items:
            self.bind_target(statement.target, item, scope)
            status = self.execute(statement.body, scope)
            if status in ("return", "raise"):
                return status
            if status == "break":
                return None
        return self.execute(statement.orelse.body, scope) if statement.orelse is not None else None

    def _begin_loop(
        self, site: Site, kind: str, iterable: Abstract, target: cst.BaseExpression | None
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
        if isinstance(target, cst.Tuple) and target.elements:
            target = target.elements[0].value
        name = target.value if isinstance(target, cst.Name) else ""
        return LoopDraft(self.loop_count, site, kind, over, trips, name, [])

    def _run_loop(self, loop: LoopDraft, statement: cst.For | cst.While, scope: Scope) -> None:
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

    def _while(self, statement: cst.While, scope: Scope) -> str | None:
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

    def _widen(self, statement: cst.For | cst.While, scope: Scope) -> None:
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

    def _with(self, statement: cst.With, scope: Scope) -> str | None:
        pushed = 0
        for item in statement.items:
            value = self.evaluate(item.item, scope)
            if item.asname is not None:
                self.bind_target(item.asname.name, value, scope)
            context = self._context_name(value)
            if context:
                self.context.append(context)
                pushed += 1
        try:
            return self.execute(statement.body, scope)
        finally:
            for _ in range(pushed):
                self.context.pop()

    def _context_name(self, value: Abstract) -> str:
        if isinstance(value, Choice):
            names = {self._context_name(option) for option in value.options}
            return names.pop() if len(names) == 1 else ""
        if isinstance(value, Library) and value.name in ("torch.no_grad", "torch.inference_mode"):
            return "no_grad"
        if not isinstance(value, Instance):
            return ""
        name = value.cls
        if name in ("torch.no_grad", "torch.inference_mode"):
            return "no_grad"
        if name == "torch.enable_grad":
            return "enable_grad"
        if name == "torch.set_grad_enabled":
            mode = next(iter(value.args.values()), None)
            if mode is not None and isinstance(mode.value, Const) and mode.value.certain:
                return "enable_grad" if mode.value.value else "no_grad"
            return ""
        if name in ("torch.amp.autocast", "accelerator.autocast"):
            return "autocast"
        if name == "accelerator.accumulate":
            return "accumulate"
        if name in ("accelerator.no_sync", "accelerator.no_backward_sync"):
            return "no_sync"
        return "dist_autograd" if name == "torch.distributed.autograd.context" else ""

    importing: bool = False


_collecting: dict[int, tuple[cst.For, bool]] = {}


def _collects_parts(statement: cst.For) -> bool:
    """Whether a loop only gathers constructed things in a list, as functions that build a model
    layer by layer do: ``layers += [nn.Linear(a, b), nn.ReLU()]``."""
    known = _collecting.get(id(statement))
    if known is None or known[0] is not statement:
        known = _collecting[id(statement)] = (statement, _only_collects(statement.body))
    return known[1]


def _only_collects(body: cst.BaseSuite) -> bool:
    gathers = False
    for line in body.body:
        if isinstance(line, cst.If):
            gathers = gathers or _only_collects(line.body)
            continue
        if not isinstance(line, cst.SimpleStatementLine):
            return False
        for small in line.body:
            if isinstance(small, cst.AugAssign) and isinstance(small.value, cst.List):
                gathers = gathers or any(
                    isinstance(element.value, cst.Call) for element in small.value.elements
                )
            elif isinstance(small, cst.Expr):
                call = small.value
                if not (
                    isinstance(call, cst.Call)
                    and isinstance(call.func, cst.Attribute)
                    and call.func.attr.value in ("append", "extend", "add_module")
                ):
                    return False
                gathers = gathers or any(isinstance(arg.value, cst.Call) for arg in call.args)
            elif not isinstance(small, cst.Assign):
                return False
    return gathers


def _compares_with_zero(test: cst.BaseExpression) -> bool:
    if not isinstance(test, cst.Comparison) or len(test.comparisons) != 1:
        return False
    right = test.comparisons[0]
    return (
        isinstance(right.operator, cst.Equal)
        and isinstance(right.comparator, cst.Integer)
        and right.comparator.value == "0"
        and isinstance(test.left, cst.Name)
    )


def _swallows(handler: cst.ExceptHandler | cst.ExceptStarHandler) -> bool:
    """Whether a handler of every error does nothing about it."""
    if handler.type is not None and dotted(handler.type) not in ("Exception", "BaseException"):
        return False
    body = handler.body
    statements = (
        [
            small
            for line in body.body
            for small in (line.body if isinstance(line, cst.SimpleStatementLine) else (line,))
        ]
        if isinstance(body, cst.IndentedBlock)
        else list(body.body)
    )
    return all(isinstance(small, (cst.Pass, cst.Continue)) for small in statements)


def _feeds_itself(statement: cst.For | cst.While, name: str) -> bool:
    """Whether the loop assigns ``name`` from a call that receives it: ``y, h = model(x, h)``."""
    for node in descendants(statement.body):
        if isinstance(node, cst.Assign) and isinstance(node.value, cst.Call):
            names: set[str] = set()
            _collect_names(node.targets[0].target, names)
            if name in names and any(dotted(arg.value) == name for arg in node.value.args):
                return True
    return False


_assigned: dict[int, tuple[cst.CSTNode, frozenset[str]]] = {}


def assigned_names(statement: cst.CSTNode) -> frozenset[str]:
    """Names a statement assigns anywhere inside it (nested functions aside)."""
    known = _assigned.get(id(statement))
    if known is not None and known[0] is statement:
        return known[1]
    names: set[str] = set()
    stack: list[Any] = [statement]
    while stack:
        node = stack.pop()
        if isinstance(node, (cst.FunctionDef, cst.ClassDef)):
            continue
        target = getattr(node, "target", None)
        if target is not None:
            _collect_names(target, names)
        for assigned in getattr(node, "targets", ()):
            _collect_names(assigned.target, names)
        for part in ("body", "orelse", "finalbody"):
            inner = getattr(node, part, None)
            if isinstance(inner, (list, tuple)):
                stack.extend(inner)
            elif inner is not None:
                stack.append(inner)
        stack.extend(getattr(node, "handlers", ()))
    result = frozenset(names)
    _assigned[id(statement)] = (statement, result)
    return result


def _collect_names(target: cst.BaseExpression, names: set[str]) -> None:
    if isinstance(target, cst.Name):
        names.add(target.value)
    elif isinstance(target, (cst.Tuple, cst.List)):
        for element in target.elements:
            _collect_names(element.value, names)
