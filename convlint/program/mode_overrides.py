"""Methods ``train(self, mode)`` that do not do what ``torch.nn.Module.train`` does."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from convlint.program.facts import ModeOverride
from convlint.program.syntax import descendants, dotted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.program.index import SourceModule


def mode_overrides(module: SourceModule) -> Iterator[ModeOverride]:
    """The faults of each override, as ``ModeOverride`` names them."""
    if "def train(" not in module.source:
        return
    for owner in module.nodes.of(ast.ClassDef):
        for method in owner.body:
            if isinstance(method, ast.FunctionDef) and method.name == "train":
                yield from _overridden(module, owner, method)


def _overridden(
    module: SourceModule, owner: ast.ClassDef, method: ast.FunctionDef
) -> Iterator[ModeOverride]:
    parameters = [argument.arg for argument in method.args.args]
    if len(parameters) != 2 or method.args.kwonlyargs or method.args.vararg or method.args.kwarg:
        return
    itself, mode = parameters
    reads_mode = any(isinstance(n, ast.Name) and n.id == mode for n in descendants(method.body))
    calls = [
        node
        for node in descendants(method.body)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "train"
    ]
    above = [call for call in calls if _of_super(call)]
    for call in above:
        passed = [a.id for a in call.args if isinstance(a, ast.Name)]
        if itself in passed:
            yield ModeOverride(owner.name, module.positions.of(call), mode, "self passed")
        elif not call.args and not call.keywords and not reads_mode:
            yield ModeOverride(owner.name, module.positions.of(call), mode, "mode dropped")
    if not _is_module(owner) or not method.args.defaults:
        return
    switched_on = [call for call in calls if _switches_on(call)]
    if not reads_mode and not above and switched_on:
        first = min(switched_on, key=lambda call: call.lineno)
        yield ModeOverride(owner.name, module.positions.of(first), mode, "mode ignored")
    if calls and not _gives_a_result(method):
        last = module.positions.of(method.body[-1])
        used = _result_is_used(module, owner.name)
        yield ModeOverride(owner.name, last, mode, "self not returned", used)


def _of_super(call: ast.Call) -> bool:
    receiver = call.func.value if isinstance(call.func, ast.Attribute) else None
    return isinstance(receiver, ast.Call) and dotted(receiver.func) == "super"


def _switches_on(call: ast.Call) -> bool:
    """``part.train()`` and ``part.train(True)``."""
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    return all(isinstance(value, ast.Constant) and value.value is True for value in given)


def _is_module(owner: ast.ClassDef) -> bool:
    """Whether a base is a ``torch.nn.Module`` by its name; ``train`` of a trainer is a loop."""
    named = [dotted(base).rpartition(".")[2] for base in owner.bases]
    return any(name in ("Module", "LightningModule") for name in named)


def _gives_a_result(method: ast.FunctionDef) -> bool:
    """Whether some path returns or yields a value, or the method only says that it has none."""
    if isinstance(method.body[-1], ast.Raise):
        return True
    return any(
        isinstance(node, (ast.Yield, ast.YieldFrom))
        or (isinstance(node, ast.Return) and node.value is not None)
        for node in descendants(method.body)
    )


def _result_is_used(module: SourceModule, owner: str) -> bool:
    """Whether ``Net(...).eval()`` or ``model.eval()`` of an instance named here is more than a
    statement of its own: assigned, given on, or the receiver of another call."""
    statements = {id(node.value) for node in module.nodes.of(ast.Expr)}
    instances = {
        dotted(target)
        for node in module.nodes.of(ast.Assign)
        if _makes(node.value, owner)
        for target in node.targets
    } - {""}
    for node in module.nodes.of(ast.Call):
        if (
            isinstance(node.func, ast.Attribute)
            and node.func.attr in ("train", "eval")
            and id(node) not in statements
            and (_makes(node.func.value, owner) or dotted(node.func.value) in instances)
        ):
            return True
    return False


def _makes(node: ast.expr, owner: str) -> bool:
    """``Net(...)`` and what is called on it, as in ``Net(...).to(device)``."""
    while isinstance(node, ast.Call):
        if dotted(node.func) == owner:
            return True
        if not isinstance(node.func, ast.Attribute):
            return False
        node = node.func.value
    return False
