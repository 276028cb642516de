"""Walking statements."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from convlint.program.definitions import Definitions
from convlint.program.domain import (
    Abstract,
    Const,
    Instance,
    Library,
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
from convlint.program.syntax import descendants


class Statements(Definitions):
    """The walk itself."""

    def execute(self, statements: list[ast.stmt], scope: Scope) -> str | None:
        """Walk a suite; returns how control leaves it, None when it falls through.

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

    def _note_overwritten(self, statements: list[ast.stmt], position: int, scope: Scope) -> None:
        """Mark the loss that the statement bound to a name when the name is bound again unread."""
        name = _assigned_name(statements[position])
        value = scope.names.get(name) if name else None
        if not isinstance(value, Tensor):
            return
        draft = next((loss for loss in reversed(self.losses) if loss.flow == value.flow), None)
        again = _bound_again(statements[position + 1 :], name)
        if draft is not None and again is not None:
            draft.overwritten = Site(scope.module, again)

    def note_unused(self, statement: ast.Expr, value: Abstract, scope: Scope) -> None:
        """Record a method that is named but not called, and a tensor nobody takes."""
        node = statement.value
        site = Site(scope.module, node)
        if isinstance(node, ast.Attribute) and isinstance(value, LibraryMethod):
            owner = value.receiver
            flow = owner.flow if isinstance(owner, Tensor) else None
            receiver = owner.leader if isinstance(owner, Instance) else None
            if flow is not None or receiver is not None:
                self.unused.append(UnusedDraft(site, value.name, False, receiver, flow))
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(value, Tensor)
            and not any(keyword.arg == "out" for keyword in node.keywords)
        ):
            self.unused.append(UnusedDraft(site, node.func.attr, True, None, value.flow))

    def _leaves_process(self, node: ast.expr, scope: Scope) -> bool:
        """Whether this calls ``sys.exit`` or one of its kind."""
        if not isinstance(node, ast.Call) or not isinstance(node.func, (ast.Attribute, ast.Name)):
            return False
        called = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
        if called not in ("exit", "_exit", "quit"):
            return False
        value = self.evaluate(node.func, scope)
        return isinstance(value, Library) and value.name in _LEAVES_PROCESS

    def _statement(self, statement: ast.stmt, scope: Scope) -> str | None:
        self.spend()
        handler = _COMPOUND.get(type(statement))
        if handler is not None:
            return handler(self, statement, scope)
        return self._simple(statement, scope)

    def _simple(self, statement: ast.stmt, scope: Scope) -> str | None:
        kind = type(statement)
        if isinstance(statement, ast.Expr):
            value = self.evaluate(statement.value, scope)
            detached = _detached_name(statement.value)
            if isinstance(value, Tensor) and detached in scope.names:
                self.write(scope.names, detached, value)
            self.note_unused(statement, value, scope)
            if self._leaves_process(statement.value, scope):
                return "raise"
        elif isinstance(statement, ast.Assign):
            self._assign(statement, scope)
        elif isinstance(statement, ast.AnnAssign):
            self._annotated(statement, scope)
        elif isinstance(statement, ast.AugAssign):
            self._augmented(statement, scope)
        elif isinstance(statement, ast.Return):
            value = (
                self.evaluate(statement.value, scope)
                if statement.value is not None
                else Const(None)
            )
            scope.returns.append(value)
            return "return"
        elif kind is ast.Break:
            return "break"
        elif kind is ast.Continue:
            return "continue"
        elif isinstance(statement, ast.Assert):
            self.evaluate(statement.test, scope)
            if isinstance(statement.test, ast.Constant) and statement.test.value is False:
                return "raise"
        elif isinstance(statement, ast.Raise):
            return "raise"
        elif isinstance(statement, (ast.Import, ast.ImportFrom)):
            self._import(statement, scope)
        elif isinstance(statement, ast.Global):
            scope.globals.update(statement.names)
        return None


_LEAVES_PROCESS = frozenset({"sys.exit", "os._exit", "builtins.exit", "builtins.quit"})


def _detached_name(node: ast.expr) -> str:
    """The ``x`` of ``x.detach_()``: from here on the name stands for the detached tensor."""
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "detach_"
        and isinstance(node.func.value, ast.Name)
    ):
        return node.func.value.id
    return ""


def _assigned_name(statement: ast.stmt) -> str:
    """The name a statement assigns when that is all it does."""
    if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
        return ""
    target = statement.targets[0]
    return target.id if isinstance(target, ast.Name) else ""


def _bound_again(following: list[ast.stmt], name: str) -> ast.AST | None:
    """The statement that assigns ``name`` before any other mentions it."""
    for statement in following:
        if isinstance(statement, ast.Assign) and _assigned_name(statement) == name:
            return None if _mentions(statement.value, name) else statement
        if _mentions(statement, name):
            return None
    return None


def _mentions(node: ast.AST, name: str) -> bool:
    return any(
        (isinstance(part, ast.Name) and part.id == name)
        or (isinstance(part, (ast.Global, ast.Nonlocal)) and name in part.names)
        for part in descendants(node)
    )


_COMPOUND: dict[type[ast.stmt], Callable[[Any, Any, Scope], str | None]] = {
    ast.If: Statements._if,
    ast.For: Statements._for,
    ast.AsyncFor: Statements._for,
    ast.While: Statements._while,
    ast.With: Statements._with,
    ast.AsyncWith: Statements._with,
    ast.Try: Statements._try,
    ast.TryStar: Statements._try,
    ast.Match: Statements._match,
    ast.FunctionDef: Statements._function,
    ast.AsyncFunctionDef: Statements._function,
    ast.ClassDef: Statements._class,
}
