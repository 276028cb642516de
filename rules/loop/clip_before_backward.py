"""LOP007: gradients are clipped before they exist."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Finding, Related, Severity
from convlint.predictions import Prediction
from convlint.program.facts import EventKind
from convlint.rules import Rule
from convlint.rules.patterns import loop_edits
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.happened import (
    before_each_step,
    judged_orders,
    order_evidence,
    order_reading,
)
from convlint.rules.patterns.orders import gradient_orders
from convlint.rules.patterns.ownership import concerns, name_of, object_of
from convlint.rules.patterns.places import place_to_location

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.gpu_probes.observations import Observations
    from convlint.program.facts import TrainingProgram
    from convlint.rules.patterns.orders import Order
    from convlint.rules.patterns.paths import Occurrence


class ClipBeforeBackward(Rule):
    """Gradients are clipped before backward has computed them.

    ## What it does
    Reports gradient clipping that stands between `zero_grad()` and `backward()`, with no clipping
    between that backward and the step.

    ## Why it hurts
    At that point the gradients are cleared: the call clips nothing, and the gradients of the
    backward that follows reach the optimizer at full size.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                loss.backward()
                optimizer.step()

    ## Use instead
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()

    ## When it is fine
    Clipping of weights (Wasserstein GANs), clipping of gradients that accumulate over several
    backward passes: neither is reported.

    ## Measured
    `convlint probe` records the order of events per optimizer and confirms or refutes it.

    ## References
    - PyTorch documentation, `torch.nn.utils.clip_grad_norm_`
    - Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks", 2013
    """

    code = "LOP007"
    slug = "clip-before-backward"
    prediction = Prediction("order of events", "is not", "clip between backward and step")
    severity = Severity.ERROR
    fix = Applicability.UNSAFE
    measurements = ("optimizers",)

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report every clip of cleared gradients whose backward follows."""
        places: set[Location] = set()
        for order in gradient_orders(program):
            for index, clip in enumerate(order.events):
                if clip.kind is not EventKind.CLIP:
                    continue
                backward = _backward_too_late(program, order, index)
                if backward is None or not one_per_place(places, clip.event.location):
                    continue
                name = name_of(object_of(program, order.optimizer), "the optimizer")
                yield self.finding(
                    clip.event.location,
                    "the gradients are clipped before backward computes them, so "
                    f"`{name}` receives them unclipped",
                    help="clip between backward and step",
                    related=(Related(backward.event.location, "the gradients come from here"),),
                    fix=self.repair(
                        "clip after the backward",
                        loop_edits.move_behind(
                            program, clip.event.location, backward.event.location
                        ),
                    ),
                )

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """Report optimizers that are clipped between clear and backward and never after it."""
        for use in judged_orders(seen):
            before_steps = before_each_step(use)
            if not before_steps or any("clip" in segment for segment in before_steps):
                continue
            between = _between_clear_and_backward(use.events)
            if between and all("clip" in segment for segment in between):
                yield self.finding(
                    place_to_location(use.place, seen),
                    f"every recorded clipping of {use.cls}'s gradients came after they were "
                    "cleared and before the backward",
                    help="clip between backward and step",
                    evidence=order_evidence(use, "clip between backward and step"),
                )

    def reading(self, seen: Observations) -> str | None:
        """The recorded order of events."""
        return order_reading(seen)


def _backward_too_late(program: TrainingProgram, order: Order, index: int) -> Occurrence | None:
    """The backward that the clip at ``index`` comes too early for, or None."""
    clip = order.events[index]
    if not concerns(program, order.loop, clip.event, order.optimizer):
        return None
    if not _cleared_before(program, order, index):
        return None
    backward: Occurrence | None = None
    for occurrence in order.events[index + 1 :]:
        if occurrence.kind is EventKind.UNKNOWN_CALL:
            return None
        if backward is None:
            if order.is_step(occurrence) or occurrence.kind is EventKind.GRAD_WRITE:
                return None
            if occurrence.kind is EventKind.BACKWARD:
                backward = occurrence
        elif occurrence.kind is EventKind.CLIP:
            return None
        elif order.is_step(occurrence):
            return backward
    return None


def _cleared_before(program: TrainingProgram, order: Order, index: int) -> bool:
    """Whether the last thing that happened to the gradients before the clip was a clear.

    Looks into the previous iteration when this one holds nothing before the clip.
    """
    here = order.events[:index]
    previous = () if order.path.ends else order.events
    for occurrence in reversed((*previous, *here)):
        if occurrence.kind is EventKind.ZERO_GRAD:
            return concerns(program, order.loop, occurrence.event, order.optimizer)
        if occurrence.kind in (
            EventKind.BACKWARD,
            EventKind.GRAD_WRITE,
            EventKind.UNKNOWN_CALL,
        ) or order.is_step(occurrence):
            return False
    return False


def _between_clear_and_backward(events: tuple[str, ...]) -> list[tuple[str, ...]]:
    segments: list[tuple[str, ...]] = []
    cleared: int | None = None
    for index, event in enumerate(events):
        if event == "zero_grad":
            cleared = index + 1
        elif event == "backward":
            if cleared is not None:
                segments.append(events[cleared:index])
            cleared = None
    return segments
