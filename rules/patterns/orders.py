"""The orders of gradient events around one optimizer, ready to be judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from convlint.program.facts import EventKind
from convlint.rules.patterns.ownership import is_managed, uses_closure
from convlint.rules.patterns.paths import paths
from convlint.rules.patterns.training_loops import STEPS, stepped_optimizer, training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.program.facts import TrainingProgram
    from convlint.rules.patterns.paths import Occurrence, Path
    from convlint.rules.patterns.training_loops import TrainingLoop

GRADIENT_EVENTS = frozenset(
    {
        EventKind.ZERO_GRAD,
        EventKind.BACKWARD,
        EventKind.UNSCALE,
        EventKind.CLIP,
        EventKind.STEP,
        EventKind.SCALER_STEP,
        EventKind.GRAD_WRITE,
        EventKind.UNKNOWN_CALL,
    }
)
"""What touches gradients, or may: the order of these is what the order rules judge."""


class Order(msgspec.Struct, frozen=True):
    """One path through one training loop, seen from one optimizer that steps on it."""

    loop: TrainingLoop
    optimizer: int
    path: Path

    @property
    def events(self) -> tuple[Occurrence, ...]:
        """The events of the path."""
        return self.path.occurrences

    def is_step(self, occurrence: Occurrence) -> bool:
        """Whether this is a step of the optimizer."""
        return occurrence.kind in STEPS and stepped_optimizer(occurrence.event) == self.optimizer


def gradient_orders(program: TrainingProgram) -> Iterator[Order]:
    """Every order of gradient events in every training loop, once per optimizer that steps.

    Loops that a framework drives, optimizers stepped with a closure and loops with more orders
    than can be enumerated are left out.
    """
    for loop in training_loops(program):
        if is_managed(program, loop):
            continue
        found = paths(loop.loop.body, GRADIENT_EVENTS)
        if found is None:
            continue
        for optimizer in loop.optimizers:
            if uses_closure(loop, optimizer):
                continue
            for path in found:
                order = Order(loop, optimizer, path)
                if any(order.is_step(o) for o in order.events):
                    yield order


def always_with(event: Occurrence, other: Occurrence) -> bool:
    """Whether ``event`` happens in every iteration in which ``other`` does."""
    return set(event.conditions) <= set(other.conditions) and (
        "conditional-expression" not in event.event.flags
    )
