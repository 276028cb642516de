"""LOS015: squared error between softmax and one-hot classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Confidence, Severity
from convlint.rules import Rule
from convlint.rules.patterns.flows import FlowGraph, objects_by_id, one_per_place
from convlint.rules.patterns.losses import trained_losses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Finding, Location
    from convlint.program.facts import TrainingProgram

SOFTMAX = frozenset({"softmax", "softmax2d"})
ONE_HOT = frozenset({"one_hot"})


class MseOnSoftmax(Rule):
    """Classes are learned with a squared error on softmax probabilities.

    ## What it does
    Reports an `mse_loss` between a softmax and one-hot targets.

    ## Why it hurts
    The gradient carries the factor p (1 - p) of the softmax: where the model is confidently wrong it is
    almost zero, so mistakes are the slowest to be unlearned.

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
            loss = F.mse_loss(F.softmax(model(x), dim=1), F.one_hot(y, 10).float())
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
    Distillation towards another model's probabilities; a Brier score that is named so.

    ## Measured
    Nothing is measured for it.

    ## References
    - Golik, Doetsch, Ney: Cross-entropy vs. squared error training, Interspeech 2013
    """

    code, slug, severity = "LOS015", "mse-on-softmax", Severity.WARNING
    confidence = Confidence.MEDIUM

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per squared error between a softmax and one-hot targets."""
        graph, objects = FlowGraph(program), objects_by_id(program)
        places: set[Location] = set()
        for loss in trained_losses(program, frozenset({"mse_loss"})):
            sides = (loss.input, loss.target)
            if not any(graph.agreed_origin(side, SOFTMAX) for side in sides):
                continue
            if not any(graph.agreed_origin(side, ONE_HOT) for side in sides):
                continue
            criterion = objects.get(-1 if loss.object is None else loss.object)
            names = (loss.function, *(criterion.names if criterion is not None else ()))
            if any("brier" in name.lower() for name in names):
                continue
            if one_per_place(places, loss.location):
                yield self.finding(
                    loss.location,
                    "squared error between softmax probabilities and one-hot classes has almost no "
                    "gradient where the model is confidently wrong",
                    help="use cross_entropy on the logits",
                )
