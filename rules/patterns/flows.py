"""Walking the data-flow graph: from a tensor back to the operations that made it.

Operations that move, copy or reshape numbers without changing them are *transparent*: the values
that enter a loss are those of the softmax five reshapes earlier.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.rules.patterns.once import once_per_program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import Flow, Object, TrainingProgram

__all__ = [
    "JOIN",
    "PLACEMENT_OPS",
    "SHAPE_OPS",
    "UNKNOWN_SOURCES",
    "FlowGraph",
    "objects_by_id",
    "one_per_place",
]

PLACEMENT_OPS = frozenset(
    {
        "to", "float", "double", "half", "bfloat16", "type", "type_as", "cpu", "cuda", "clone",
        "contiguous", "detach", "detach_", "identity", "pin_memory", "requires_grad_", "data",
        "numpy", "from_numpy", "tensor", "as_tensor", "asarray", "array", "astype", "variable",
        "float_tensor", "items",
    }
)  # fmt: skip
"""Operations that keep every value and the shape (up to precision and device)."""

SHAPE_OPS = PLACEMENT_OPS | frozenset(
    {
        "view", "view_as", "reshape", "reshape_as", "flatten", "unflatten", "ravel", "squeeze",
        "unsqueeze", "permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "t",
        "T", "mT", "getitem", "get_item", "narrow", "select", "index_select", "masked_select",
        "expand", "repeat", "chunk", "split", "unbind", "rearrange",
    }
)  # fmt: skip
"""Operations that keep every value (or a selection of them), whatever the shape."""

JOIN = "<join>"
UNKNOWN_SOURCES = frozenset({"<unknown>", "<symbol>"})
"""Where a walk has to give up."""


class FlowGraph:
    """The tensors of one program, walkable in both directions. Walks are safe on cycles."""

    def __init__(self, program: TrainingProgram) -> None:
        """Index the flows of ``program``; the first graph of a program costs one pass over them."""
        self._program = program
        self._flows = _flows_by_id(program)

    def get(self, number: int | None) -> Flow | None:
        """The flow of this number, or None."""
        return None if number is None else self._flows.get(number)

    def users(self, flow: Flow) -> tuple[Flow, ...]:
        """The flows computed directly from ``flow``."""
        return _users(self._program).get(flow.id, ())

    def origins(
        self, number: int | None, transparent: frozenset[str] = SHAPE_OPS
    ) -> tuple[Flow, ...]:
        """The nearest flows behind ``number`` that are not ``transparent``.

        Branches (``<join>``) contribute every alternative, so more than one flow means that the
        program does not always compute the value the same way. Nothing is returned for a number
        that is unknown.
        """
        found: dict[int, Flow] = {}
        seen: set[int] = set()
        pending = [number]
        while pending:
            flow = self.get(pending.pop())
            if flow is None or flow.id in seen:
                continue
            seen.add(flow.id)
            if flow.op == JOIN:
                pending.extend(flow.inputs)
            elif flow.op in transparent and flow.inputs:
                # Only the first operand carries the values; the others are shapes or indices.
                pending.append(flow.inputs[0])
            else:
                found[flow.id] = flow
        return tuple(found[key] for key in sorted(found))

    def agreed_origin(
        self, number: int | None, ops: frozenset[str], transparent: frozenset[str] = SHAPE_OPS
    ) -> Flow | None:
        """The origin of ``number`` when every alternative is one of ``ops``, else None.

        An alternative that is unknown, or a branch that skips the operation (as in
        ``if not self.training: x = softmax(x)``), makes the answer None.
        """
        origins = self.origins(number, transparent)
        if origins and all(flow.op in ops for flow in origins):
            return origins[0]
        return None

    def ancestors(self, number: int | None) -> Iterator[Flow]:
        """``number``'s flow and everything it was computed from, nearest first."""
        seen: set[int] = set()
        pending = [number]
        while pending:
            flow = self.get(pending.pop(0))
            if flow is None or flow.id in seen:
                continue
            seen.add(flow.id)
            yield flow
            pending.extend(flow.inputs)

    def attached_ancestors(self, number: int | None) -> set[int]:
        """The flow and everything it was computed from with gradient."""
        found: set[int] = set()
        pending = [number]
        while pending:
            flow = self.get(pending.pop())
            if flow is None or flow.id in found or flow.detached:
                continue
            found.add(flow.id)
            pending.extend(flow.inputs)
        return found

    def following(
        self, flow: Flow, within: frozenset[int], transparent: frozenset[str]
    ) -> Flow | None:
        """The one flow that uses ``flow`` next, seen through ``transparent`` operations.

        None when nothing in ``within`` uses it, or when several do (a branch of the graph).
        """
        seen: set[int] = set()
        current = flow
        while current.id not in seen:
            seen.add(current.id)
            users = [user for user in self.users(current) if user.id in within]
            if len(users) != 1:
                return None
            current = users[0]
            if current.op not in transparent and current.op != JOIN:
                return current
        return None


@once_per_program
def _flows_by_id(program: TrainingProgram) -> dict[int, Flow]:
    return {flow.id: flow for flow in program.flows}


@once_per_program
def _users(program: TrainingProgram) -> dict[int, tuple[Flow, ...]]:
    users: dict[int, list[Flow]] = {}
    for user in program.flows:
        for number in dict.fromkeys(user.inputs):
            users.setdefault(number, []).append(user)
    return {number: tuple(found) for number, found in users.items()}


@once_per_program
def objects_by_id(program: TrainingProgram) -> dict[int, Object]:
    """The objects of ``program`` by number."""
    return {item.id: item for item in program.objects}


def one_per_place(locations: set[Location], location: Location) -> bool:
    """Whether ``location`` is new; remembers it. One inlined helper is one fault, not several."""
    if location in locations:
        return False
    locations.add(location)
    return True
