"""LOS018: a loss summed over the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Confidence, Severity
from convlint.program.facts import EventKind
from convlint.rules import Rule
from convlint.rules.patterns.flows import PLACEMENT_OPS, FlowGraph, one_per_place
from convlint.rules.patterns.gradients import events_of_kind
from convlint.rules.patterns.losses import trained_losses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Finding, Location
    from convlint.program.facts import TrainingProgram


class SumReduction(Rule):
    """The loss is summed over the batch, so the step grows with the batch size.

    ## What it does
    Reports a loss with `reduction="sum"` in a loop that is back-propagated as it is, without a division.

    ## Why it hurts
    The gradient is as many times larger as the batch has elements. The learning rate then only fits one
    batch size, and the last, smaller batch takes a smaller step.

    ## Example
        import torch
        import torch.nn.functional as F
        from torch import nn

        model = nn.Linear(20, 10)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(64, 20)
        y = torch.randint(0, 10, (64,))
        for epoch in range(10):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y, reduction="sum")
            loss.backward()
            optimizer.step()

    ## Use instead
        import torch
        import torch.nn.functional as F
        from torch import nn

        model = nn.Linear(20, 10)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(64, 20)
        y = torch.randint(0, 10, (64,))
        for epoch in range(10):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()

    ## When it is fine
    Variational bounds, where the terms are summed; CTC; detection losses divided by the number of boxes.
    The rule is off unless selected.

    ## Measured
    Nothing is measured for it.

    ## References
    - PyTorch, loss functions: reduction
    """

    code, slug, severity = "LOS018", "sum-reduction", Severity.INFO
    confidence = Confidence.MEDIUM
    default = False

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per summed loss that is back-propagated alone."""
        graph = FlowGraph(program)
        trained = {
            origin.id
            for event in events_of_kind(program, EventKind.BACKWARD)
            for origin in graph.origins(event.flow, PLACEMENT_OPS | {"scaled"})
        }
        places: set[Location] = set()
        for loss in trained_losses(program, None):
            reduction = loss.args.get("reduction")
            summed = reduction is not None and reduction.constant == "sum"
            if not summed or loss.name == "ctc_loss" or loss.flow not in trained or not loss.loops:
                continue
            if one_per_place(places, loss.location):
                yield self.finding(
                    loss.location,
                    "the loss is summed over the batch, so the gradient grows with the batch size",
                    help='use reduction="mean", or divide by the batch size',
                )
