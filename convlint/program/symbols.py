"""What a symbol, known only by its identity, turns out to be by its use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.program.domain import (
    Instance,
)
from convlint.program.drafts import BranchDraft, EntryDraft, EventDraft, NodeDraft
from convlint.program.facts import (
    EventKind,
    ObjectKind,
)

if TYPE_CHECKING:
    pass

_OPTIMIZER_METHODS = frozenset({"zero_grad", "param_groups", "add_param_group"})


_SCHEDULER_METHODS = frozenset({"get_last_lr", "get_lr"})


_SCALER_METHODS = frozenset({"scale", "unscale_"})


_MODULE_METHODS = frozenset(
    {"parameters", "named_parameters", "train", "eval", "modules", "load_state_dict", "<module>"}
)


_NO_OPTIMIZERS = ("sched", "lr", "warm", "prof", "ema", "timer", "bar", "env", "progress")
"""In the name of an argument: something else with a ``step()`` of its own."""


def symbol_kind(symbol: Instance) -> ObjectKind:
    """What a symbol is, by the methods called on it."""
    methods = symbol.methods
    if methods & _SCALER_METHODS:
        return ObjectKind.SCALER
    if methods & _MODULE_METHODS:
        return ObjectKind.MODEL
    if methods & _OPTIMIZER_METHODS:
        return ObjectKind.OPTIMIZER
    if methods & _SCHEDULER_METHODS:
        return ObjectKind.SCHEDULER
    return ObjectKind.SYMBOL


def lone_steppers(entries: list[EntryDraft]) -> frozenset[int]:
    """Symbols that can only be the optimizer of a loop: the loop back-propagates a loss, steps
    this one thing without arguments, and nothing else in it steps or clears gradients."""
    found: set[int] = set()
    for entry in entries:
        _visit_loops(entry.body, found)
    return frozenset(found)


def _visit_loops(nodes: list[NodeDraft], found: set[int]) -> list[EventDraft]:
    """The events below ``nodes``, those of training loops left out."""
    events: list[EventDraft] = []
    for node in nodes:
        if isinstance(node, EventDraft):
            events.append(node)
        elif isinstance(node, BranchDraft):
            for arm in node.arms:
                events += _visit_loops(arm.body, found)
        else:
            inside = _visit_loops(node.body, found)
            stepper = _only_stepper(inside)
            if stepper is None:
                events += inside
            else:
                found.add(stepper.id)
    return events


def _only_stepper(events: list[EventDraft]) -> Instance | None:
    if not any(e.kind is EventKind.BACKWARD and e.flow is not None for e in events):
        return None
    if any(e.kind in (EventKind.ZERO_GRAD, EventKind.SCALER_STEP) for e in events):
        return None
    steps = {e.target.id: e for e in events if e.kind is EventKind.STEP and e.target is not None}
    candidates = [
        e
        for e in steps.values()
        if e.target is not None
        and not any(word in name.lower() for name in e.target.names for word in _NO_OPTIMIZERS)
    ]
    if len(candidates) != 1:
        return None
    (step,) = candidates
    target = step.target
    if target is None or target.kind is not ObjectKind.SYMBOL or step.flags:
        return None
    return target if symbol_kind(target) is ObjectKind.SYMBOL else None
