"""Functions that offer one more size of something a file has already shown.

Libraries of models have dozens of functions that differ in the numbers they pass on. Each leads
through the whole construction again, and after the first few that tells nothing new.
"""

from __future__ import annotations

import ast
import builtins
from typing import TYPE_CHECKING

from convlint.program.domain import Abstract, Class, Function, Library, Scope
from convlint.program.drafts import BranchDraft, EventDraft, LoopDraft, NodeDraft
from convlint.program.syntax import FUNCTIONS, LoopNode, descendants

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

_OF_A_DICT_OR_STRING = frozenset(
    {"copy", "endswith", "format", "get", "items", "join", "keys", "lower", "pop", "replace"}
    | {"setdefault", "split", "startswith", "update", "upper", "values"}
)
_MAKE_NO_LAYER = frozenset({"collections.OrderedDict", "copy.deepcopy", "functools.partial"})
_BUILTINS = frozenset(vars(builtins))


def only_passes_arguments(
    function: Function,
    lineage: Callable[[Class], list[Class]],
    walked: Collection[int],
) -> bool:
    """Whether a function does nothing of its own: it calls functions and classes of the project
    that were walked before, with arguments made of plain values.

    ``walked`` has the identities of the walked functions' nodes.
    """
    if isinstance(function.node, ast.Lambda):
        return False
    for part in descendants(function.node.body):
        if isinstance(part, (LoopNode, ast.With, ast.ClassDef, *FUNCTIONS)):
            return False
        if isinstance(part, ast.Call) and not _is_known(part.func, function, lineage, walked):
            return False
    return True


def _is_known(
    callee: ast.expr,
    function: Function,
    lineage: Callable[[Class], list[Class]],
    walked: Collection[int],
) -> bool:
    if isinstance(callee, ast.Attribute):
        return callee.attr in _OF_A_DICT_OR_STRING
    if not isinstance(callee, ast.Name):
        return False
    value = _lookup(callee.id, function.scope)
    if isinstance(value, Function):
        return id(value.node) in walked
    if isinstance(value, Class):
        members = (owner.members.get("__init__") for owner in lineage(value))
        made = next((member for member in members if member is not None), None)
        return isinstance(made, Function) and id(made.node) in walked
    if isinstance(value, Library):
        return value.name in _MAKE_NO_LAYER
    return value is None and callee.id in _BUILTINS


def _lookup(name: str, scope: Scope | None) -> Abstract | None:
    while scope is not None:
        if name in scope.names:
            return scope.names[name]
        scope = scope.parent
    return None


def has_events(nodes: Iterable[NodeDraft]) -> bool:
    """Whether anything of a training happens in a block."""
    return any(
        isinstance(node, EventDraft)
        or (isinstance(node, LoopDraft) and has_events(node.body))
        or (isinstance(node, BranchDraft) and any(has_events(arm.body) for arm in node.arms))
        for node in nodes
    )
