"""LOS006: sigmoid and binary cross-entropy in two steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Severity
from convlint.rules import Rule
from convlint.rules.patterns import loss_edits
from convlint.rules.patterns.flows import FlowGraph, one_per_place
from convlint.rules.patterns.losses import trained_losses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Finding, Location
    from convlint.program.facts import TrainingProgram

SIGMOID = frozenset({"sigmoid"})


class PreferBceWithLogits(Rule):
    """Sigmoid and binary cross-entropy are computed one after the other.

    ## What it does
    Reports a `binary_cross_entropy` (`nn.BCELoss`) whose input is a sigmoid; as an error inside
    `autocast`, where PyTorch refuses it.

    ## Why it hurts
    The sigmoid rounds to 0 or 1 for logits beyond about 17 in float32; the logarithm is then cut off
    at -100 and the gradient is lost. The fused form is exact for all logits.

    ## Example
        import torch
        import torch.nn.functional as F
        from torch import nn

        model = nn.Linear(20, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(64, 20)
        y = torch.rand(64, 1)
        for epoch in range(10):
            optimizer.zero_grad()
            loss = F.binary_cross_entropy(torch.sigmoid(model(x)), y)
            loss.backward()
            optimizer.step()

    ## Use instead
        import torch
        import torch.nn.functional as F
        from torch import nn

        model = nn.Linear(20, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(64, 20)
        y = torch.rand(64, 1)
        for epoch in range(10):
            optimizer.zero_grad()
            loss = F.binary_cross_entropy_with_logits(model(x), y)
            loss.backward()
            optimizer.step()

    ## When it is fine
    Small networks whose logits stay small. The rule is off unless selected.

    ## Measured
    Nothing is measured for it.

    ## References
    - PyTorch, `torch.nn.BCEWithLogitsLoss`
    - PyTorch, automatic mixed precision: prefer binary_cross_entropy_with_logits
    """

    code, slug, severity = "LOS006", "prefer-bce-with-logits", Severity.INFO
    fix = Applicability.UNSAFE
    default = False

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per binary cross-entropy of a sigmoid."""
        graph = FlowGraph(program)
        places: set[Location] = set()
        for loss in trained_losses(program, frozenset({"binary_cross_entropy"})):
            sigmoid = graph.agreed_origin(loss.input, SIGMOID)
            if sigmoid is None:
                continue
            if not one_per_place(places, loss.location):
                continue
            mixed = "autocast" in loss.context
            yield self.finding(
                loss.location,
                "binary_cross_entropy of a sigmoid is not allowed under autocast"
                if mixed
                else "binary_cross_entropy of a sigmoid loses the gradient of confident logits",
                help="drop the sigmoid and use binary_cross_entropy_with_logits",
                severity=Severity.ERROR if mixed else None,
                fix=self.repair(
                    "drop the sigmoid and use the loss that takes logits",
                    loss_edits.without_activation(program, graph, sigmoid, loss),
                    loss_edits.rename_loss(
                        program, loss, "binary_cross_entropy_with_logits", "BCEWithLogitsLoss"
                    ),
                ),
            )
