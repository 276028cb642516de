"""Walking statements: assignments, branches, loops, contexts, definitions and imports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import libcst as cst

from convlint.program.command_line import decorator_option
from convlint.program.domain import (
    UNKNOWN,
    Abstract,
    Argument,
    Children,
    Choice,
    Class,
    Const,
    Function,
    Instance,
    Iterated,
    Layers,
    Library,
    LoopRange,
    Map,
    ParameterGroups,
    Parameters,
    ProjectModule,
    Scope,
    Seq,
    Site,
    Tensor,
)
from convlint.program.facts import EventKind, Origin
from convlint.program.index import SourceModule
from convlint.program.libraries.kinds import MANAGED_BASES, canonical
from convlint.program.library_methods import LibraryMethods
from convlint.program.state import (
    ArmDraft,
    BranchDraft,
    FlowDraft,
    LoopDraft,
    NodeDraft,
    PlainListDraft,
)

_AUGMENTED: dict[type[cst.BaseAugOp], type[cst.BaseBinaryOp]] = {
    cst.AddAssign: cst.Add,
    cst.SubtractAssign: cst.Subtract,
    cst.MultiplyAssign: cst.Multiply,
    cst.DivideAssign: cst.Divide,
    cst.MatrixMultiplyAssign: cst.MatrixMultiply,
    cst.PowerAssign: cst.Power,
    cst.FloorDivideAssign: cst.FloorDivide,
    cst.ModuloAssign: cst.Modulo,
}

_LONGEST_UNROLLED_LOOP = 40
_LONGEST_CONDITION = 80
_MOST_MODULES = 60
"""Imported project modules followed from one file."""


class Statements(LibraryMethods):
    """The walk itself."""

    # Suites.

    def execute(self, body: cst.BaseSuite, scope: Scope) -> str | None:
        """Walk a suite; returns how control leaves it, None when it falls through."""
        return self.execute_all(body.body, scope)

    def execute_all(self, statements: Any, scope: Scope) -> str | None:
        """Walk statements in order.

        After a branch in which some arm returned, what follows belongs to the other arms.
        """
        outer = self.block
        rests: list[tuple[list[ArmDraft], list[NodeDraft]]] = []
        status: str | None = None
        for statement in statements:
            before = len(self.block)
            status = self._statement(statement, scope)
            if status is not None:
                break
            if len(self.block) > before and isinstance(self.block[-1], BranchDraft):
                arms = self.block[-1].arms
                falling = [arm for arm in arms if arm.ends is None]
                if falling and any(arm.ends == "return" for arm in arms):
                    rest: list[NodeDraft] = []
                    rests.append((falling, rest))
                    self.block = rest
        for falling, rest in reversed(rests):
            for arm in falling:
                arm.body = arm.body + rest
                arm.ends = status if status is not None else arm.ends
        self.block = outer
        return status

    def _statement(self, statement: cst.CSTNode, scope: Scope) -> str | None:
        if isinstance(statement, cst.SimpleStatementLine):
            for small in statement.body:
                status = self._small(small, scope)
                if status is not None:
                    return status
            return None
        handler = _COMPOUND.get(type(statement))
        self.spend()
        return (
            handler(self, statement, scope)
            if handler is not None
            else self._small(statement, scope)
        )

    def _small(self, statement: cst.CSTNode, scope: Scope) -> str | None:
        self.spend()
        kind = type(statement)
        if isinstance(statement, cst.Expr):
            self.evaluate(statement.value, scope)
        elif isinstance(statement, cst.Assign):
            self._assign(statement, scope)
        elif isinstance(statement, cst.AnnAssign):
            self._annotated(statement, scope)
        elif isinstance(statement, cst.AugAssign):
            self._augmented(statement, scope)
        elif isinstance(statement, cst.Return):
            value = (
                self.evaluate(statement.value, scope)
                if statement.value is not None
                else Const(None)
            )
            self._function_scope(scope).returns.append(value)
            return "return"
        elif kind is cst.Break:
            return "break"
        elif kind is cst.Continue:
            return "continue"
        elif isinstance(statement, cst.Raise):
            return "raise"
        elif isinstance(statement, (cst.Import, cst.ImportFrom)):
            self._import(statement, scope)
        elif isinstance(statement, cst.Global):
            scope.globals.update(item.name.value for item in statement.names)
        elif isinstance(statement, cst.Del):
            return None
        return None

    def _function_scope(self, scope: Scope) -> Scope:
        return scope

    # Assignment.

    def _assign(self, statement: cst.Assign, scope: Scope) -> None:
        value = self.evaluate(statement.value, scope)
        for target in statement.targets:
            self.bind_target(target.target, value, scope)

    def _annotated(self, statement: cst.AnnAssign, scope: Scope) -> None:
        if statement.value is not None:
            self.bind_target(statement.target, self.evaluate(statement.value, scope), scope)

    def bind_target(self, target: cst.BaseExpression, value: Abstract, scope: Scope) -> None:
        """Assign ``value`` to an assignment target."""
        if isinstance(target, cst.Name):
            self._bind_name(target.value, value, scope)
        elif isinstance(target, (cst.Tuple, cst.List)):
            self._unpack_into(target, value, scope)
        elif isinstance(target, cst.Attribute):
            owner = self.evaluate(target.value, scope)
            self._assign_attribute(owner, target.attr.value, value, Site(scope.module, target))
        elif isinstance(target, cst.Subscript):
            self._assign_item(target, value, scope)
        elif isinstance(target, cst.StarredElement):
            self.bind_target(target.value, value, scope)

    def _bind_name(self, name: str, value: Abstract, scope: Scope) -> None:
        if isinstance(value, Instance) and name not in value.names:
            value.names.append(name)
        elif isinstance(value, Choice):
            for option in value.options:
                if isinstance(option, Instance) and name not in option.names:
                    option.names.append(name)
        home = scope
        if name in scope.globals:
            while home.parent is not None:
                home = home.parent
        if (
            home.parent is None
            and isinstance(value, Const)
            and value.origin is not None
            and value.origin.kind == "literal"
        ):
            value = Const(value.value, Origin("module constant", name), certain=False)
        self.write(home.names, name, value)

    def _unpack_into(self, target: cst.Tuple | cst.List, value: Abstract, scope: Scope) -> None:
        site = Site(scope.module, target)
        elements = target.elements
        starred = next(
            (i for i, e in enumerate(elements) if isinstance(e, cst.StarredElement)), None
        )
        if starred is not None:
            if isinstance(value, Seq) and value.complete and len(value.items) >= len(elements) - 1:
                after = len(elements) - starred - 1
                end = len(value.items) - after
                parts: list[Abstract] = [
                    *value.items[:starred],
                    Seq("list", value.items[starred:end]),
                    *value.items[end:],
                ]
            else:
                parts = self.unpack(value, len(elements), site)
        else:
            parts = self.unpack(value, len(elements), site)
        for element, part in zip(elements, parts, strict=False):
            self.bind_target(element.value, part, scope)

    def _assign_attribute(self, owner: Abstract, name: str, value: Abstract, site: Site) -> None:
        if isinstance(owner, Parameters):
            self._assign_parameter_view(owner, name, value, site)
        elif isinstance(owner, Instance):
            self.set_attribute(owner, name, value, site)
        elif isinstance(owner, Choice):
            for option in owner.options:
                if isinstance(option, Instance):
                    self.set_attribute(option, name, value, site)

    def _assign_parameter_view(
        self, owner: Parameters, name: str, value: Abstract, site: Site
    ) -> None:
        over = owner.owners if owner.resolved else None
        if name == "grad":
            cleared = isinstance(value, Const) and value.value is None
            kind = EventKind.ZERO_GRAD if cleared else EventKind.GRAD_WRITE
            self.emit(kind, site, over=over, flags=("hand-written",))
        elif name == "data" and self.loops:
            self.emit(EventKind.PARAMETER_WRITE, site, over=over)

    def set_attribute(self, owner: Instance, name: str, value: Abstract, site: Site) -> None:
        """``owner.name = value``, registering submodules and noting modules kept in plain lists."""
        if isinstance(value, Instance) and f"self.{name}" not in value.names:
            value.names.append(f"self.{name}")
        if owner.is_module:
            child = value
            if isinstance(child, Choice):
                modules = [o for o in child.options if isinstance(o, Instance) and o.is_module]
                child = modules[0] if modules else child
            if isinstance(child, Instance) and child.is_module:
                self.register_child(owner, name, child)
                self.write(owner.attributes, name, value)
                return
            if isinstance(value, (Seq, Map)):
                self._plain_container(owner, name, value, site)
        self.write(owner.attributes, name, value)

    def _plain_container(self, owner: Instance, name: str, value: Seq | Map, site: Site) -> None:
        container = "dict" if isinstance(value, Map) else value.kind
        self.plain_lists.append(PlainListDraft(owner, name, container, "", site, ()))
        self._plain_values[id(self.plain_lists[-1])] = value

    def _assign_item(self, target: cst.Subscript, value: Abstract, scope: Scope) -> None:
        owner = self.evaluate(target.value, scope)
        key: Abstract = UNKNOWN
        if len(target.slice) == 1 and isinstance(target.slice[0].slice, cst.Index):
            key = self.evaluate(target.slice[0].slice.value, scope)
        site = Site(scope.module, target)
        if isinstance(owner, Map):
            if isinstance(key, Const):
                self.write(owner.items, key.value, value)
            else:
                owner.complete = False
        elif isinstance(owner, Seq):
            if (
                isinstance(key, Const)
                and isinstance(key.value, int)
                and owner.complete
                and -len(owner.items) <= key.value < len(owner.items)
            ):
                owner.items[key.value] = value
            else:
                owner.complete = False
        elif isinstance(owner, ParameterGroups):
            if isinstance(key, Const) and key.value == "lr":
                self.emit(
                    EventKind.LR_WRITE,
                    site,
                    target=owner.optimizer,
                    args={"value": Argument(value, site)},
                )
        elif isinstance(owner, Instance):
            if owner.is_module and isinstance(value, Instance) and value.is_module:
                known = str(key.value) if isinstance(key, Const) else f"<{len(owner.children)}>"
                self.register_child(owner, known, value)
            elif isinstance(key, Const) and isinstance(key.value, str):
                self.write(owner.attributes, key.value, value)

    def _augmented(self, statement: cst.AugAssign, scope: Scope) -> None:
        current = self.evaluate(statement.target, scope)
        value = self.evaluate(statement.value, scope)
        site = Site(scope.module, statement)
        op = _AUGMENTED.get(type(statement.operator))
        if isinstance(current, Parameters):
            over = current.owners if current.resolved else None
            kind = EventKind.PARAMETER_WRITE
            if current.view == "grad":
                kind = EventKind.CLIP if op in (cst.Multiply, cst.Divide) else EventKind.GRAD_WRITE
            self.emit(kind, site, over=over, flags=("hand-written",))
            return
        if isinstance(statement.target, cst.Subscript) and isinstance(current, type(UNKNOWN)):
            owner = self.evaluate(statement.target.value, scope)
            if isinstance(owner, ParameterGroups):
                self._scale_learning_rate(owner, statement, op, value, scope)
                return
        if op is cst.Add and isinstance(value, Tensor) and not self._is_model_state(scope):
            self.emit(EventKind.ACCUMULATE, site, flow=value.flow)
        if op is None:
            self.bind_target(statement.target, UNKNOWN, scope)
            return
        if isinstance(current, Seq) and op is cst.Add and not isinstance(value, Seq):
            known = self.known_items(value)
            value = Seq("list", known or [], known is not None)
        if isinstance(current, Seq) and self.loops and isinstance(value, Seq):
            value = Seq(value.kind, value.items, False, value.node)
        result = self.binary(op, current, value, site)
        if isinstance(current, Const) and isinstance(result, Const) and self.loops:
            result = UNKNOWN
        self.bind_target(statement.target, result, scope)

    def _is_model_state(self, scope: Scope) -> bool:
        return self.forward_depth > 0

    def _scale_learning_rate(
        self,
        owner: ParameterGroups,
        statement: cst.AugAssign,
        op: type[cst.BaseBinaryOp] | None,
        value: Abstract,
        scope: Scope,
    ) -> None:
        target = statement.target
        assert isinstance(target, cst.Subscript)
        key: Abstract = UNKNOWN
        if len(target.slice) == 1 and isinstance(target.slice[0].slice, cst.Index):
            key = self.evaluate(target.slice[0].slice.value, scope)
        if isinstance(key, Const) and key.value == "lr":
            name = {cst.Multiply: "factor", cst.Divide: "divisor"}.get(op or cst.Add, "value")
            self.emit(
                EventKind.LR_WRITE,
                Site(scope.module, statement),
                target=owner.optimizer,
                args={name: Argument(value, Site(scope.module, statement.value))},
            )

    # Branches.

    def _if(self, statement: cst.If, scope: Scope) -> str | None:
        test = self.evaluate(statement.test, scope)
        truth = self.truth(test)
        if self._is_main_guard(statement.test, scope):
            truth = not self.importing
        if self._is_type_checking(test):
            truth = False
        if truth is True:
            return self.execute(statement.body, scope)
        otherwise = statement.orelse
        if truth is False:
            return self._orelse(otherwise, scope)
        guard = self._class_guard(statement.test, scope)
        arms: list[Callable[[], str | None]] = [
            lambda: self._guarded(guard, lambda: self.execute(statement.body, scope)),
            lambda: self._orelse(otherwise, scope),
        ]
        return self._branch(Site(scope.module, statement), arms, statement.test, scope)

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
            self.block.append(self._describe_branch(site, arms, test, scope))
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
        self, site: Site, arms: list[ArmDraft], test: cst.BaseExpression | None, scope: Scope
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
        self.context.append("try")
        try:
            status = self.execute(statement.body, scope)
        finally:
            self.context.pop()
        if status is None and statement.orelse is not None:
            status = self.execute(statement.orelse.body, scope)
        for handler in statement.handlers:
            outer, self.block = self.block, []
            self.begin_arm()
            self.execute(handler.body, scope)
            changed = self.end_arm()
            self.block = outer
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

    # Loops.

    def _for(self, statement: cst.For, scope: Scope) -> str | None:
        iterable = self.evaluate(statement.iter, scope)
        site = Site(scope.module, statement)
        items = self._unrolled(iterable)
        if items is not None:
            return self._run_unrolled(statement, items, scope)
        self._widen(statement, scope)
        loop = self._begin_loop(site, "for", iterable, statement.target)
        element = self._loop_element(iterable, Site(scope.module, statement.iter))
        self.bind_target(statement.target, element, scope)
        self._run_loop(loop, statement.body, scope)
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

    def _unrolled(self, iterable: Abstract) -> list[Abstract] | None:
        """Loops over known modules and, while a model is built or applied, known ranges, are
        walked item by item; training loops are walked once."""
        items = self.known_items(iterable)
        if items is None or len(items) > _LONGEST_UNROLLED_LOOP:
            return None
        if self.forward_depth > 0:
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
        if isinstance(over, Tensor):
            flow = self.flows[over.flow]
            over = flow.source if flow.source is not None else UNKNOWN
        name = target.value if isinstance(target, cst.Name) else ""
        return LoopDraft(self.loop_count, site, kind, over, trips, name, [])

    def _run_loop(self, loop: LoopDraft, body: cst.BaseSuite, scope: Scope) -> None:
        outer, self.block = self.block, loop.body
        self.loops.append(loop.id)
        try:
            self.execute(body, scope)
        finally:
            self.loops.pop()
            self.block = outer
        if loop.body:
            self.block.append(loop)

    def _while(self, statement: cst.While, scope: Scope) -> str | None:
        self._widen(statement, scope)
        self.evaluate(statement.test, scope)
        loop = self._begin_loop(Site(scope.module, statement), "while", UNKNOWN, None)
        self._run_loop(loop, statement.body, scope)
        return None

    def _widen(self, statement: cst.For | cst.While, scope: Scope) -> None:
        """Names a loop reassigns hold no constant while it runs."""
        for name in assigned_names(statement):
            if isinstance(scope.names.get(name), Const):
                self.write(scope.names, name, UNKNOWN)

    # Contexts.

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

    # Definitions.

    def _function(self, statement: cst.FunctionDef, scope: Scope) -> str | None:
        self.write(scope.names, statement.name.value, self.define_function(statement, scope))
        return None

    def define_function(self, node: cst.FunctionDef, scope: Scope) -> Function:
        """A function value, with what its decorators say."""
        function = Function(node, scope, node.name.value)
        names: list[str] = []
        for decorator in node.decorators:
            expression = decorator.decorator
            called = expression if isinstance(expression, cst.Call) else None
            value = self.evaluate(called.func if called is not None else expression, scope)
            if isinstance(value, Library):
                names.append(value.name.removeprefix("builtins."))
                if called is not None and value.name.startswith("click."):
                    line = scope.module.positions.of(called).line
                    option = decorator_option(value.name, self._arguments(called, scope), line)
                    if option is not None:
                        function.options[option[0]] = option[1]
            elif isinstance(expression, cst.Attribute):
                names.append(expression.attr.value)
        function.decorators = tuple(names)
        return function

    def _class(self, statement: cst.ClassDef, scope: Scope) -> str | None:
        bases = tuple(self.evaluate(arg.value, scope) for arg in statement.bases)
        lineage: set[str] = set()
        resolved = True
        for base in bases:
            if isinstance(base, Library):
                lineage.add(base.name)
            elif isinstance(base, Class):
                lineage |= base.lineage
                resolved = resolved and base.resolved
            else:
                resolved = False
        for name in lineage:
            if name in MANAGED_BASES:
                self.managed[MANAGED_BASES[name]] = None
        klass = Class(
            statement, scope, statement.name.value, bases, {}, frozenset(lineage), resolved
        )
        body = Scope(klass.members, scope.module, scope, statement.name.value)
        outer, self.block = self.block, []
        try:
            self.execute(statement.body, body)
        finally:
            self.block = outer
        for member in klass.members.values():
            if isinstance(member, Function):
                # Methods see the module's names, not the class body's.
                member.scope = scope
                member.owner = klass
        klass.fields = tuple(
            small.target.value
            for line in statement.body.body
            if isinstance(line, cst.SimpleStatementLine)
            for small in line.body
            if isinstance(small, cst.AnnAssign) and isinstance(small.target, cst.Name)
        )
        self.write(scope.names, statement.name.value, klass)
        return None

    # Imports.

    def _import(self, statement: cst.Import | cst.ImportFrom, scope: Scope) -> None:
        if isinstance(statement, cst.Import):
            for alias in statement.names:
                self._import_module(alias, scope)
        else:
            self._import_from(statement, scope)

    def _import_module(self, alias: cst.ImportAlias, scope: Scope) -> None:
        name = alias.evaluated_name
        if alias.asname is not None and isinstance(alias.asname.name, cst.Name):
            self.write(scope.names, alias.asname.name.value, self._module_value(name, 0, scope))
            return
        root = name.partition(".")[0]
        self.write(scope.names, root, self._module_value(root, 0, scope))

    def _module_value(self, name: str, level: int, scope: Scope) -> Abstract:
        module = self._project_module(name, level, scope)
        if module is not None:
            return ProjectModule(module)
        return UNKNOWN if level else Library(canonical(name))

    def _project_module(self, name: str, level: int, scope: Scope) -> Scope | None:
        importer = scope.module.file
        if importer is None:
            return None
        file = self.index.resolve(name, level, importer, self.root)
        if file is None:
            return None
        module = self.index.load(file)
        return self.module_scope(module) if module is not None else None

    def module_scope(self, module: SourceModule) -> Scope | None:
        """The namespace of a project module, walking its top level the first time."""
        if module in self.modules:
            return self.modules[module]
        if len(self.modules) >= _MOST_MODULES:
            return None
        scope = Scope({"__name__": UNKNOWN}, module)
        self.modules[module] = scope
        outer, self.block = self.block, []
        depth, self.forward_depth = self.forward_depth, 0
        context, self.context = self.context, []
        importing, self.importing = self.importing, True
        try:
            self.execute_all(module.tree.body, scope)
        finally:
            self.block = outer
            self.forward_depth = depth
            self.context = context
            self.importing = importing
        return scope

    def _import_from(self, statement: cst.ImportFrom, scope: Scope) -> None:
        level = len(statement.relative)
        name = _dotted(statement.module) if statement.module is not None else ""
        module = self._project_module(name, level, scope)
        if isinstance(statement.names, cst.ImportStar):
            self._import_star(module, name, level, scope)
            return
        for alias in statement.names:
            imported = alias.evaluated_name
            bound = alias.evaluated_alias or imported
            self.write(scope.names, bound, self._imported(module, name, level, imported, scope))

    def _imported(
        self, module: Scope | None, name: str, level: int, imported: str, scope: Scope
    ) -> Abstract:
        if module is not None:
            found = module.names.get(imported)
            if found is not None:
                return found
            inner = self._project_module(f"{name}.{imported}" if name else imported, level, scope)
            return ProjectModule(inner) if inner is not None else UNKNOWN
        if level:
            inner = self._project_module(f"{name}.{imported}" if name else imported, level, scope)
            return ProjectModule(inner) if inner is not None else UNKNOWN
        inner = self._project_module(f"{name}.{imported}", 0, scope)
        if inner is not None:
            return ProjectModule(inner)
        return Library(canonical(f"{name}.{imported}"))

    def _import_star(self, module: Scope | None, name: str, level: int, scope: Scope) -> None:
        if module is not None:
            for key, value in list(module.names.items()):
                if not key.startswith("_"):
                    self.write(scope.names, key, value)

    # Set by the extractor.

    importing: bool = False
    _plain_values: dict[int, Seq | Map]

    def duplicate(self, value: Instance, site: Site) -> Instance:
        """A deep copy: another object with the same parts."""
        copy = self.new_instance(value.kind, value.cls, site, dict(value.args), value.klass)
        copy.attributes = dict(value.attributes)
        copy.children = Children(value.children)
        copy.bases = value.bases
        copy.complete = value.complete
        copy.parent = value
        return copy

    def flow_of(self, tensor: Tensor) -> FlowDraft:
        """The draft node behind a tensor."""
        return self.flows[tensor.flow]


def _dotted(node: cst.Attribute | cst.Name) -> str:
    if isinstance(node, cst.Name):
        return node.value
    assert isinstance(node.value, (cst.Attribute, cst.Name))
    return f"{_dotted(node.value)}.{node.attr.value}"


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


_COMPOUND: dict[type[cst.CSTNode], Callable[[Any, Any, Scope], str | None]] = {
    cst.If: Statements._if,
    cst.For: Statements._for,
    cst.While: Statements._while,
    cst.With: Statements._with,
    cst.Try: Statements._try,
    cst.TryStar: Statements._try,
    cst.Match: Statements._match,
    cst.FunctionDef: Statements._function,
    cst.ClassDef: Statements._class,
}
