"""Walking statements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import libcst as cst

from convlint.program.definitions import Definitions
from convlint.program.domain import (
    Const,
    Scope,
)
from convlint.program.drafts import (
    ArmDraft,
    BranchDraft,
    NodeDraft,
)


class Statements(Definitions):
    """The walk itself."""

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
            scope.returns.append(value)
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
        return None


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
