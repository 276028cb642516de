"""The loss calls that train something, as opposed to those that only report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.program.facts import EventKind
from convlint.rules.patterns.flows import objects_by_id
from convlint.rules.patterns.gradients import events_of_kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import Flow, LossCall, TrainingProgram
    from convlint.rules.patterns.flows import FlowGraph

__all__ = ["forward_location", "trained_losses"]

_GRADIENT_FREE = frozenset({"no_grad", "inference_mode"})


def trained_losses(program: TrainingProgram, names: frozenset[str] | None) -> Iterator[LossCall]:
    """The calls of these torch losses (of any, for None) outside ``no_grad``, one per place in the source.

    A helper inlined at several calls is met once for every different input it receives.
    """
    objects = objects_by_id(program)
    met: set[tuple[Location, int | None]] = set()
    for loss in program.losses:
        if (names is not None and loss.name not in names) or _disabled(loss.context):
            continue
        criterion = objects.get(loss.object) if loss.object is not None else None
        if criterion is not None and not criterion.cls.startswith("torch."):
            continue  # another library's loss of the same name may expect probabilities
        if (loss.location, loss.input) in met:
            continue
        met.add((loss.location, loss.input))
        yield loss


def forward_location(
    program: TrainingProgram, graph: FlowGraph, loss: LossCall, first: Flow
) -> Location:
    """The call of the model that computes ``first`` on the way to ``loss``; the loss call itself
    when no such call was recorded."""
    on_the_way = {flow.id for flow in graph.ancestors(loss.input)}
    for event in events_of_kind(program, EventKind.FORWARD):
        if event.flow in on_the_way and any(f.id == first.id for f in graph.ancestors(event.flow)):
            return event.location
    return loss.location


def _disabled(context: tuple[str, ...]) -> bool:
    """Whether the innermost of no_grad and enable_grad is no_grad."""
    for name in reversed(context):
        if name == "enable_grad":
            return False
        if name in _GRADIENT_FREE:
            return True
    return False
