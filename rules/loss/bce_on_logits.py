"""LOS005: binary cross-entropy of numbers that are not probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Confidence, Evidence, Severity
from convlint.rules import Rule
from convlint.rules.patterns import loss_edits
from convlint.rules.patterns.flows import FlowGraph, one_per_place
from convlint.rules.patterns.layers import is_normalisation, is_weight_layer
from convlint.rules.patterns.losses import trained_losses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Finding, Location
    from convlint.program.facts import TrainingProgram

UNBOUNDED = frozenset(
    {"relu", "leaky_relu", "prelu", "elu", "selu", "gelu", "silu", "tanh", "log_softmax"}
)


class BceOnLogits(Rule):
    """`binary_cross_entropy` is given numbers outside [0, 1].

    ## What it does
    Follows the first argument of `binary_cross_entropy` (`nn.BCELoss`) back to the operation that
    made it and reports a linear layer, a convolution, a normalisation or an unbounded activation.

    ## Why it hurts
    The loss takes logarithms of probabilities. Anything outside [0, 1] raises an error, on the GPU as
    a device-side assertion far from its cause.

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
            loss = F.binary_cross_entropy(model(x), y)
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
    A sigmoid or softmax anywhere behind the last layer, a clamp, a model that cannot be seen.

    ## Measured
    Nothing is measured for it.

    ## References
    - PyTorch, `torch.nn.BCELoss`: the input must be between 0 and 1
    """

    code, slug, severity = "LOS005", "bce-on-logits", Severity.ERROR
    fix = Applicability.UNSAFE
    confidence = Confidence.MEDIUM

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per loss whose input surely leaves [0, 1]."""
        graph = FlowGraph(program)
        places: set[Location] = set()
        for loss in trained_losses(program, frozenset({"binary_cross_entropy"})):
            origins = graph.origins(loss.input)
            if not origins or not all(_unbounded(flow.op) for flow in origins):
                continue
            if not one_per_place(places, loss.location):
                continue
            yield self.finding(
                loss.location,
                f"binary_cross_entropy receives the output of {origins[0].op}, which is not confined to "
                "[0, 1]",
                help="use binary_cross_entropy_with_logits, or apply a sigmoid first",
                evidence=(Evidence("static", f"the input comes from {origins[0].op}"),),
                fix=self.repair(
                    "use the loss that takes logits",
                    loss_edits.rename_loss(
                        program, loss, "binary_cross_entropy_with_logits", "BCEWithLogitsLoss"
                    ),
                ),
            )


def _unbounded(op: str) -> bool:
    """Whether the values of an operation can be any number."""
    return op in UNBOUNDED or is_weight_layer(op) or (is_normalisation(op) and op != "normalize")
