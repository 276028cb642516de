"""Branches: if, match and try, with what each side leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import libcst as cst

from convlint.program.assignment import Assignment
from convlint.program.domain import (
    Abstract,
    Choice,
    Condition,
    Indexed,
    Instance,
    Library,
    Scope,
    Seq,
    Site,
)
from convlint.program.drafts import (
    ArmDraft,
    BranchDraft,
)
from convlint.program.monitoring import Monitoring, dotted

_LONGEST_CONDITION = 80


class Branches(Assignment, Monitoring):
    """Statements that choose."""

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

    importing: bool = False


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
