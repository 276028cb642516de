"""LOP002: gradients are cleared between backward and step."""

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
from convlint.rules.patterns.orders import always_with, gradient_orders
from convlint.rules.patterns.ownership import Match, acts_on, name_of, object_of
from convlint.rules.patterns.places import place_to_location

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.gpu_probes.observations import Observations
    from convlint.program.facts import TrainingProgram
    from convlint.rules.patterns.orders import Order
    from convlint.rules.patterns.paths import Occurrence


class ZeroGradKillsGradient(Rule):
    """Gradients are cleared after backward and before the step that should use them.

    ## What it does
    Reports a `zero_grad()` that stands between `backward()` and `step()` of the same optimizer.

    ## Why it hurts
    The step finds no gradient: the parameters stay where they are (or drift by weight decay and
    momentum alone), and the loss never falls. No error is raised.

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
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.zero_grad()
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
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()

    ## When it is fine
    Clearing another network's gradients, a second backward between the clear and the step (two
    phases on one batch), gradients written by hand after the clear: none of these is reported.

    ## Measured
    `convlint probe` records the order of events per optimizer and confirms or refutes it.

    ## References
    - PyTorch documentation, `torch.optim.Optimizer.zero_grad`
    - PyTorch tutorial, "Optimizing Model Parameters"
    """

    code = "LOP002"
    slug = "zero-grad-kills-gradient"
    prediction = Prediction("order of events", "is not", "zero_grad before backward or after step")
    severity = Severity.ERROR
    fix = Applicability.UNSAFE
    measurements = ("optimizers",)

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report every clear that comes after the last backward before a step."""
        places: set[Location] = set()
        for order in gradient_orders(program):
            for index, step in enumerate(order.events):
                if not order.is_step(step):
                    continue
                clear = _clear_before(program, order, index)
                if clear is None or not one_per_place(places, clear.event.location):
                    continue
                name = name_of(object_of(program, order.optimizer), "the optimizer")
                yield self.finding(
                    clear.event.location,
                    f"the gradients are cleared between backward and `{name}.step()`, so the "
                    "step has nothing to apply",
                    help="clear the gradients after the step, or before the backward",
                    related=(Related(step.event.location, "this step finds no gradient"),),
                    fix=self.repair(
                        "clear the gradients after the step",
                        loop_edits.move_behind(program, clear.event.location, step.event.location),
                    ),
                )

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """Report optimizers whose every recorded step followed a clear."""
        for use in judged_orders(seen):
            segments = before_each_step(use)
            if segments and all("zero_grad" in segment for segment in segments):
                yield self.finding(
                    place_to_location(use.place, seen),
                    f"in every recorded step of {use.cls} the gradients were cleared between "
                    "backward and step",
                    help="clear the gradients after the step, or before the backward",
                    evidence=order_evidence(use, "zero_grad before backward or after step"),
                )

    def reading(self, seen: Observations) -> str | None:
        """The recorded order of events."""
        return order_reading(seen)


def _clear_before(program: TrainingProgram, order: Order, index: int) -> Occurrence | None:
    """The clear that leaves nothing for the step at ``index``, going back to the last backward."""
    step = order.events[index]
    clear: Occurrence | None = None
    for occurrence in reversed(order.events[:index]):
        if occurrence.kind is EventKind.BACKWARD:
            return clear
        if occurrence.kind in (EventKind.GRAD_WRITE, EventKind.UNKNOWN_CALL):
            return None
        if order.is_step(occurrence):
            return None
        if (
            occurrence.kind is EventKind.ZERO_GRAD
            and acts_on(program, occurrence.event, order.optimizer) is Match.YES
            and always_with(occurrence, step)
        ):
            clear = clear or occurrence
    return None
