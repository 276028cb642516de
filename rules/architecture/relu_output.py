"""NRM018: scores that cannot be what the loss needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import (
    Confidence,
    Evidence,
    Finding,
    Related,
    Severity,
)
from convlint.rules import Rule
from convlint.rules.patterns.flows import (
    PLACEMENT_OPS,
    FlowGraph,
    one_per_place,
)
from convlint.rules.patterns.layers import (
    DROPOUT_OPS,
    is_weight_layer,
)
from convlint.rules.patterns.losses import trained_losses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import (
        TrainingProgram,
    )

ON_LOGITS = frozenset({"cross_entropy", "binary_cross_entropy_with_logits"})
BOUNDING = frozenset({"relu", "relu6", "tanh"})


class ReluOutput(Rule):
    """The scores pass a ReLU or tanh before a loss that takes logits.

    ## What it does
    Reports cross-entropy and BCE with logits on the direct output of a ReLU or a tanh.

    ## Why it hurts
    Logits run over the whole line. After a ReLU no class can be ruled out and a wrong negative
    score gives no gradient; after a tanh no probability can get near 0 or 1 (with two classes none
    beyond 0.88), so the loss has a floor.

    ## Example
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 3), nn.ReLU())
        optimizer = torch.optim.Adam(model.parameters())
        x, y = torch.randn(64, 20), torch.randint(0, 3, (64,))
        for epoch in range(100):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()

    ## Use instead
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 3))
        optimizer = torch.optim.Adam(model.parameters())
        x, y = torch.randn(64, 20), torch.randint(0, 3, (64,))
        for epoch in range(100):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()

    ## When it is fine
    A learned scale after the activation; scores that are counts or distances by design.

    ## Measured
    `convlint probe` shows dead units in the last layer.

    ## References
    - Goodfellow, Bengio and Courville, Deep learning, section 6.2.2
    """

    code, slug, severity = "NRM018", "relu-output", Severity.WARNING
    confidence = Confidence.MEDIUM
    confirmed_by = ("dead-units",)

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per activation."""
        graph = FlowGraph(program)
        reported: set[Location] = set()
        for loss in trained_losses(program, ON_LOGITS):
            flow = graph.agreed_origin(loss.input, BOUNDING, PLACEMENT_OPS)
            if flow is None or flow.location is None or not flow.inputs:
                continue
            before = graph.origins(flow.inputs[0], PLACEMENT_OPS | DROPOUT_OPS)
            if not before or not all(is_weight_layer(origin.op) for origin in before):
                continue
            if one_per_place(reported, flow.location):
                yield self.finding(
                    flow.location,
                    f"{flow.op} bounds the scores that {loss.name} takes for logits",
                    help=f"pass the output of the last layer to the loss without the {flow.op}",
                    related=(Related(loss.location, "the loss"),),
                    evidence=(Evidence("static", f"{before[0].op} → {flow.op} → {loss.name}"),),
                )
