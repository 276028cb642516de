"""LOP006: gradients are clipped after they were applied."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Finding, Related, Severity
from convlint.predictions import Prediction
from convlint.program.facts import EventKind
from convlint.rules import Rule
from convlint.rules.patterns import loop_edits
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.happened import (
    after_each_step,
    before_each_step,
    judged_orders,
    order_evidence,
    order_reading,
)
from convlint.rules.patterns.orders import gradient_orders
from convlint.rules.patterns.ownership import concerns, name_of, object_of
from convlint.rules.patterns.paths import continued
from convlint.rules.patterns.places import place_to_location

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.gpu_probes.observations import Observations
    from convlint.program.facts import TrainingProgram
    from convlint.rules.patterns.orders import Order
    from convlint.rules.patterns.paths import Occurrence


class ClipAfterStep(Rule):
    """Gradients are clipped after the step that was to be protected.

    ## What it does
    Reports gradient clipping that comes after `step()` of the same optimizer, with no clipping
    between `backward()` and that step.

    ## Why it hurts
    The step has already used the unclipped gradient, and the clipped one is cleared before it is
    ever used: the run has no clipping at all, although the script looks as if it had.

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
                loss.backward()
                optimizer.step()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)

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
    Clipping what a later backward accumulates onto, with no clear between, and clipping another
    network's gradients: neither is reported.

    ## Measured
    `convlint probe` records the order of events per optimizer and confirms or refutes it.

    ## References
    - PyTorch documentation, `torch.nn.utils.clip_grad_norm_`
    - Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks", 2013
    """

    code = "LOP006"
    slug = "clip-after-step"
    prediction = Prediction("order of events", "is not", "clip between backward and step")
    severity = Severity.ERROR
    fix = Applicability.UNSAFE
    measurements = ("optimizers",)

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report every clip whose gradients were applied before and are cleared next."""
        places: set[Location] = set()
        for order in gradient_orders(program):
            for index, clip in enumerate(order.events):
                if clip.kind is not EventKind.CLIP:
                    continue
                step = _step_too_early(program, order, index)
                if step is None or not one_per_place(places, clip.event.location):
                    continue
                name = name_of(object_of(program, order.optimizer), "the optimizer")
                yield self.finding(
                    clip.event.location,
                    f"the gradients are clipped after `{name}.step()` has applied them, so "
                    "nothing is clipped",
                    help="clip between backward and step",
                    related=(Related(step.event.location, "the unclipped step"),),
                    fix=self.repair(
                        "clip before the step",
                        loop_edits.move_before(program, clip.event.location, step.event.location),
                    ),
                )

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """Report optimizers that are clipped after each step and never before."""
        for use in judged_orders(seen):
            before, after = before_each_step(use), after_each_step(use)
            if not before or any("clip" in segment for segment in before):
                continue
            # The last recorded step may be cut off before its clip.
            if after and all(_clips_applied_gradients(segment) for segment in after[:-1] or after):
                yield self.finding(
                    place_to_location(use.place, seen),
                    f"every recorded step of {use.cls} came before the clipping of its gradients",
                    help="clip between backward and step",
                    evidence=order_evidence(use, "clip between backward and step"),
                )

    def reading(self, seen: Observations) -> str | None:
        """The recorded order of events."""
        return order_reading(seen)


def _clips_applied_gradients(after: tuple[str, ...]) -> bool:
    """Whether the first thing done to the gradients after a step is to clip them."""
    return next((event for event in after if event in ("clip", "zero_grad")), "") == "clip"


def _step_too_early(program: TrainingProgram, order: Order, index: int) -> Occurrence | None:
    """The step that the clip at ``index`` comes too late for, or None when there is no fault."""
    if not concerns(program, order.loop, order.events[index].event, order.optimizer):
        return None
    step: Occurrence | None = None
    for occurrence in reversed(order.events[:index]):
        if occurrence.kind is EventKind.UNKNOWN_CALL:
            return None
        if step is None:
            if occurrence.kind in (EventKind.BACKWARD, EventKind.ZERO_GRAD):
                return None
            if order.is_step(occurrence):
                step = occurrence
        elif occurrence.kind is EventKind.CLIP:
            return None
        elif occurrence.kind is EventKind.BACKWARD:
            return step if _cleared_next(order, index) else None
    return None


def _cleared_next(order: Order, index: int) -> bool:
    """Whether the clipped gradients are cleared (or the loop left) before the next backward."""
    for occurrence in continued(order.path)[index + 1 :]:
        if occurrence.kind is EventKind.ZERO_GRAD:
            return True
        if occurrence.kind is EventKind.BACKWARD:
            return False
    return True
