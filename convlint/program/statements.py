"""Walking statements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import libcst as cst

from convlint.program.definitions import Definitions
from convlint.program.domain import (
    Abstract,
    Const,
    Instance,
    LibraryMethod,
    Scope,
    Site,
    Tensor,
)
from convlint.program.drafts import (
    ArmDraft,
    BranchDraft,
    NodeDraft,
    UnusedDraft,
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
        for position, statement in enumerate(statements):
            before = len(self.block)
            losses = len(self.losses)
            status = self._statement(statement, scope)
            if len(self.losses) > losses:
                self._note_overwritten(statements, position, scope)
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

    def _note_overwritten(self, statements: Any, position: int, scope: Scope) -> None:
        """Mark the loss that the statement bound to a name when the name is bound again unread."""
        name = _assigned_name(statements[position])
        value = scope.names.get(name) if name else None
        if not isinstance(value, Tensor):
            return
        draft = next((loss for loss in reversed(self.losses) if loss.flow == value.flow), None)
        again = _bound_again(statements[position + 1 :], name)
        if draft is not None and again is not None:
            draft.overwritten = Site(scope.module, again)

    def note_unused(self, statement: cst.Expr, value: Abstract, scope: Scope) -> None:
        """Record a method that is named but not called, and a tensor nobody takes."""
        node = statement.value
        site = Site(scope.module, node)
        if isinstance(node, cst.Attribute) and isinstance(value, LibraryMethod):
            owner = value.receiver
            flow = owner.flow if isinstance(owner, Tensor) else None
            receiver = owner.leader if isinstance(owner, Instance) else None
            if flow is not None or receiver is not None:
                self.unused.append(UnusedDraft(site, value.name, False, receiver, flow))
        elif (
            isinstance(node, cst.Call)
            and isinstance(node.func, cst.Attribute)
            and isinstance(value, Tensor)
            and not any(a.keyword is not None and a.keyword.value == "out" for a in node.args)
        ):
            self.unused.append(UnusedDraft(site, node.func.attr.value, True, None, value.flow))

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
            self.note_unused(statement, self.evaluate(statement.value, scope), scope)
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
        elif isinstance(statement, cst.Assert):
            self.evaluate(statement.test, scope)
            if isinstance(statement.test, cst.Name) and statement.test.value == "False":
                return "raise"
        elif isinstance(statement, cst.Raise):
            return "raise"
        elif isinstance(statement, (cst.Import, cst.ImportFrom)):
            self._import(statement, scope)
        elif isinstance(statement, cst.Global):
            scope.globals.update(item.name.value for item in statement.names)
        return None


def _assigned_name(statement: cst.CSTNode) -> str:
    """The name a line assigns when that is all it does."""
    if not isinstance(statement, cst.SimpleStatementLine) or len(statement.body) != 1:
        return ""
    small = statement.body[0]
    if not isinstance(small, cst.Assign) or len(small.targets) != 1:
        return ""
    target = small.targets[0].target
    return target.value if isinstance(target, cst.Name) else ""


def _bound_again(following: Any, name: str) -> cst.CSTNode | None:
    """The statement that assigns ``name`` before any other mentions it."""
    for statement in following:
        if _assigned_name(statement) == name:
            mentioned = _mentions(statement.body[0].value, name)
            return None if mentioned else statement
        if _mentions(statement, name):
            return None
    return None


def _mentions(node: cst.CSTNode, name: str) -> bool:
    pending: list[Any] = [node]
    while pending:
        current = pending.pop()
        if isinstance(current, cst.Name) and current.value == name:
            return True
        pending.extend(current.children)
    return False


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
