"""AMP008: binary cross-entropy on probabilities under autocast."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns import loss_edits
from convlint.rules.patterns.flows import FlowGraph, one_per_place
from convlint.rules.patterns.losses import trained_losses
from convlint.rules.patterns.scaling import autocast_dtypes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import LossCall, TrainingProgram
    from convlint.rules import Changes


class BceUnderAutocast(Rule):
    """Binary cross-entropy on probabilities is computed under autocast.

    ## What it does
    Reports `BCELoss` or `F.binary_cross_entropy` inside an autocast region.

    ## Why it hurts
    The gradient of the logarithm of a probability overflows float16, so PyTorch raises an error
    on CUDA.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.rand(256, 2))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2)).cuda()
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scaler = torch.amp.GradScaler("cuda")
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                with torch.autocast("cuda", dtype=torch.float16):
                    loss = nn.functional.binary_cross_entropy(model(x.cuda()).sigmoid(), y.cuda())
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()

    ## Use instead
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.rand(256, 2))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2)).cuda()
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scaler = torch.amp.GradScaler("cuda")
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                with torch.autocast("cuda", dtype=torch.float16):
                    loss = nn.functional.binary_cross_entropy_with_logits(model(x.cuda()), y.cuda())
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()

    ## When it is fine
    The loss on logits (`BCEWithLogitsLoss`), bfloat16 alone, and regions on the CPU are not
    reported.

    ## Measured
    Not measured: a machine without the device does not run in half precision.

    ## References
    - PyTorch documentation, `torch.amp`, "Prefer binary_cross_entropy_with_logits over binary_cross_entropy"
    """

    code = "AMP008"
    slug = "bce-under-autocast"
    severity = Severity.ERROR
    fix = Applicability.UNSAFE
    unmeasured_because = "a machine without the device does not run in half precision"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report these losses under float16 autocast."""
        if autocast_dtypes(program) != {"torch.float16"}:
            return
        places: set[Location] = set()
        for loss in trained_losses(program, frozenset({"binary_cross_entropy"})):
            if "autocast" in loss.context and one_per_place(places, loss.location):
                yield self.finding(
                    loss.location,
                    "binary cross-entropy on probabilities is not safe in float16: PyTorch raises "
                    "an error here",
                    help="give the logits to `binary_cross_entropy_with_logits`",
                    fix=self.repair(
                        "drop the sigmoid and use the loss that takes logits",
                        _on_logits(program, loss),
                    ),
                )


def _on_logits(program: TrainingProgram, loss: LossCall) -> Changes:
    graph = FlowGraph(program)
    sigmoid = graph.agreed_origin(loss.input, frozenset({"sigmoid"}))
    if sigmoid is None:
        return None
    bare = loss_edits.without_activation(program, graph, sigmoid, loss)
    renamed = loss_edits.rename_loss(
        program, loss, "binary_cross_entropy_with_logits", "BCEWithLogitsLoss"
    )
    return None if bare is None or renamed is None else (*bare, *renamed)
