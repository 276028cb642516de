"""LOS009: cross-entropy over a single class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Related, Severity
from convlint.rules import Rule
from convlint.rules.patterns.flows import PLACEMENT_OPS, FlowGraph, objects_by_id, one_per_place
from convlint.rules.patterns.losses import trained_losses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Finding, Location
    from convlint.program.facts import TrainingProgram


class OneLogitCrossEntropy(Rule):
    """Cross-entropy over one class is zero whatever the model says.

    ## What it does
    Reports a `cross_entropy` whose input comes directly from a linear layer with one output unit.

    ## Why it hurts
    Softmax of a single logit is always 1, so the loss is always 0 and so is every gradient. The run
    looks perfect and learns nothing.

    ## Example
        import torch
        import torch.nn.functional as F
        from torch import nn

        model = nn.Linear(20, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(64, 20)
        y = torch.zeros(64, dtype=torch.long)
        for epoch in range(10):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()

    ## Use instead
        import torch
        import torch.nn.functional as F
        from torch import nn

        model = nn.Linear(20, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(64, 20)
        y = torch.randint(0, 2, (64,)).float()
        for epoch in range(10):
            optimizer.zero_grad()
            loss = F.binary_cross_entropy_with_logits(model(x).squeeze(1), y)
            loss.backward()
            optimizer.step()

    ## When it is fine
    One score per candidate reshaped to a row of candidates, as in multiple choice: the reshape makes
    the classes.

    ## Measured
    `convlint probe` looks for parameters that receive no gradient, or zero; another term of the loss
    can give them one, so silence refutes nothing.

    ## References
    - PyTorch, `torch.nn.CrossEntropyLoss`: the input has one logit per class
    """

    code, slug, severity = "LOS009", "one-logit-cross-entropy", Severity.ERROR
    confirmed_by = ("parameter-without-gradient",)
    silence_refutes = False

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per cross-entropy fed straight from a layer with one unit."""
        graph, objects = FlowGraph(program), objects_by_id(program)
        places: set[Location] = set()
        for loss in trained_losses(program, frozenset({"cross_entropy"})):
            source = graph.agreed_origin(loss.input, frozenset({"linear"}), PLACEMENT_OPS)
            layer = objects.get(source.layer) if source and source.layer is not None else None
            width = layer.args.get("out_features") if layer is not None else None
            if layer is None or width is None or width.number != 1:
                continue
            if one_per_place(places, loss.location):
                yield self.finding(
                    loss.location,
                    "cross-entropy over one class: softmax of a single logit is 1, so the loss and every "
                    "gradient are always 0",
                    help="give the layer one unit per class, or use binary_cross_entropy_with_logits",
                    related=(Related(layer.location, "this layer has one output unit"),),
                )
