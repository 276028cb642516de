"""Branches: if, match and try, with what each side leaves behind."""

from __future__ import annotations

import ast
from collections.abc import Callable

from convlint.program.assignment import Assignment
from convlint.program.domain import (
    Abstract,
    Choice,
    Class,
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
from convlint.program.monitoring import Monitoring
from convlint.program.state import ArmWrite
from convlint.program.syntax import dotted

_LONGEST_CONDITION = 80


class Branches(Assignment, Monitoring):
    """Statements that choose."""

    def _if(self, statement: ast.If, scope: Scope) -> str | None:
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

    def _orelse(self, otherwise: list[ast.stmt], scope: Scope) -> str | None:
        if len(otherwise) == 1 and isinstance(otherwise[0], ast.If):
            return self._if(otherwise[0], scope)
        return self.execute(otherwise, scope)

    def _guarded(self, guard: tuple[str, ...], run: Callable[[], str | None]) -> str | None:
        if not guard:
            return run()
        self.class_guards.append(guard)
        try:
            return run()
        finally:
            self.class_guards.pop()

    def _class_guard(self, test: ast.expr, scope: Scope) -> tuple[str, ...]:
        """Classes named by an ``isinstance(x, ...)`` in the test."""
        if isinstance(test, ast.BoolOp):
            guards = (self._class_guard(value, scope) for value in test.values)
            return next((guard for guard in guards if guard), ())
        if not (
            isinstance(test, ast.Call)
            and isinstance(test.func, ast.Name)
            and test.func.id == "isinstance"
            and len(test.args) == 2
        ):
            return ()
        classes = self.evaluate(test.args[1], scope)
        options = classes.items if isinstance(classes, Seq) else [classes]
        return tuple(
            o.name if isinstance(o, Library) else f"{o.scope.module.name}.{o.name}"
            for o in options
            if isinstance(o, (Library, Class))
        )

    def _is_main_guard(self, test: ast.expr, scope: Scope) -> bool:
        if not (isinstance(test, ast.Compare) and isinstance(test.left, ast.Name)):
            return False
        return test.left.id == "__name__"

    def _is_type_checking(self, test: Abstract) -> bool:
        return isinstance(test, Library) and test.name == "typing.TYPE_CHECKING"

    def _branch(
        self,
        site: Site,
        runs: list[Callable[[], str | None]],
        test: ast.expr | None,
        scope: Scope,
        outcomes: Indexed | None = None,
    ) -> str | None:
        outer = self.block
        arms: list[ArmDraft] = []
        writes: list[list[ArmWrite]] = []
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
        test: ast.expr | None,
        scope: Scope,
        outcomes: Indexed | None = None,
    ) -> BranchDraft:
        if test is None:
            return BranchDraft(site, arms, "<try>")
        text = scope.module.positions.text(test)
        return BranchDraft(
            site,
            arms,
            " ".join(text.split())[:_LONGEST_CONDITION],
            modulo="%" in text,
            first_iteration=_compares_with_zero(test),
            guards=self._none_guards(test, scope),
            outcomes=outcomes,
        )

    def _none_guards(self, test: ast.expr, scope: Scope) -> tuple[Instance, ...]:
        if isinstance(test, ast.BoolOp):
            return tuple(g for value in test.values for g in self._none_guards(value, scope))
        subject = test
        if isinstance(test, ast.Compare) and isinstance(
            test.ops[0], (ast.Is, ast.IsNot, ast.NotEq, ast.Eq)
        ):
            subject = test.left
        if not isinstance(subject, (ast.Name, ast.Attribute)):
            return ()
        value = self.evaluate(subject, scope)
        options = value.options if isinstance(value, Choice) else (value,)
        return tuple(o.leader for o in options if isinstance(o, Instance))

    def _try(self, statement: ast.Try | ast.TryStar, scope: Scope) -> str | None:
        before = len(self.context)
        self.context.append("try")
        if any(map(_swallows, statement.handlers)):
            self.context.append("swallowed")
        try:
            status = self.execute(statement.body, scope)
        finally:
            del self.context[before:]
        if status is None:
            status = self.execute(statement.orelse, scope)
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
                if isinstance(mapping, Seq):
                    mapping.complete = False
                elif key not in mapping and isinstance(value, Abstract):
                    self.write(mapping, key, value)
        return self.execute(statement.finalbody, scope) or status

    def _match(self, statement: ast.Match, scope: Scope) -> str | None:
        self.evaluate(statement.subject, scope)
        runs: list[Callable[[], str | None]] = [
            lambda case=case: self.execute(case.body, scope)  # type: ignore[misc]
            for case in statement.cases
        ]
        return self._branch(
            Site(scope.module, statement), [*runs, lambda: None], statement.subject, scope
        )

    importing: bool = False


def _compares_with_zero(test: ast.expr) -> bool:
    return (
        isinstance(test, ast.Compare)
        and isinstance(test.left, ast.Name)
        and len(test.ops) == 1
        and isinstance(test.ops[0], ast.Eq)
        and isinstance(test.comparators[0], ast.Constant)
        and type(test.comparators[0].value) is int
        and test.comparators[0].value == 0
    )


def _swallows(handler: ast.ExceptHandler) -> bool:
    """Whether a handler of every error does nothing about it."""
    if handler.type is not None and dotted(handler.type) not in ("Exception", "BaseException"):
        return False
    return all(isinstance(statement, (ast.Pass, ast.Continue)) for statement in handler.body)
