"""Whether an object left the hands of the script, so that others may act on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.program.facts import EventKind, ObjectKind
from convlint.rules.patterns.paths import occurrences

if TYPE_CHECKING:
    from convlint.program.facts import Object, TrainingProgram, Value

_KEEPERS = frozenset(
    {
        ObjectKind.TRAINER,
        ObjectKind.ACCELERATOR,
        ObjectKind.LIBRARY,
        ObjectKind.SCHEDULER,
        ObjectKind.SYMBOL,
    }
)
"""Objects that act on what they were given. A model or a project object acts through code that
was read."""

_STATE = "torch.nn.Module.state_dict"
"""Holds a module's tensors and acts on nothing."""


def is_handed_on(program: TrainingProgram, thing: Object) -> bool:
    """Whether unread code, a framework or a chaining object received ``thing``.

    A scheduler's own reference to its optimizer does not count.
    """
    if thing.escaped:
        return True
    for keeper in program.objects:
        if keeper.cls == _STATE:
            continue
        if keeper.kind in _KEEPERS and keeper.id != thing.id:
            held = [
                value
                for name, value in keeper.args.items()
                if not (keeper.kind is ObjectKind.SCHEDULER and name == "optimizer")
            ]
            if any(_holds(value, thing.id) for value in (*held, *keeper.attributes.values())):
                return True
    for call in program.calls:
        if call.result.object in (None, thing.id) and any(
            _holds(value, thing.id) for value in call.args.values()
        ):
            return True
    return any(
        o.kind is EventKind.UNKNOWN_CALL and thing.id in (*o.event.escapes, o.event.target)
        for entry in program.entries
        for o in occurrences(entry.body)
    )


def _holds(value: Value, number: int) -> bool:
    if value.object == number:
        return True
    return any(_holds(item, number) for item in value.items or ())
