"""LOS008: a Kullback-Leibler divergence averaged over classes."""

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
    from convlint.program.facts import LossCall, TrainingProgram


class KlReductionMean(Rule):
    """`kl_div` averages over classes too, so it is not the divergence.

    ## What it does
    Reports a `kl_div` (`nn.KLDivLoss`) whose `reduction` is `mean`, given or left at its default.

    ## Why it hurts
    The mean is taken over every element: the divergence comes out smaller by the number of classes.
    In a sum with another loss the term all but vanishes.

    ## Example
        import torch
        import torch.nn.functional as F
        from torch import nn

        model = nn.Linear(20, 10)
        teacher = nn.Linear(20, 10)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(64, 20)
        y = torch.randint(0, 10, (64,))
        for epoch in range(10):
            optimizer.zero_grad()
            with torch.no_grad():
                wanted = F.softmax(teacher(x), dim=1)
            loss = F.kl_div(F.log_softmax(model(x), dim=1), wanted, reduction="mean")
            loss.backward()
            optimizer.step()

    ## Use instead
        import torch
        import torch.nn.functional as F
        from torch import nn

        model = nn.Linear(20, 10)
        teacher = nn.Linear(20, 10)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(64, 20)
        y = torch.randint(0, 10, (64,))
        for epoch in range(10):
            optimizer.zero_grad()
            with torch.no_grad():
                wanted = F.softmax(teacher(x), dim=1)
            loss = F.kl_div(F.log_softmax(model(x), dim=1), wanted, reduction="batchmean")
            loss.backward()
            optimizer.step()

    ## When it is fine
    `batchmean`, `sum` or `none` with a reduction of one's own; a product with a size (`* n_classes`)
    that undoes the mean.

    ## Measured
    Nothing is measured for it.

    ## References
    - PyTorch, `torch.nn.KLDivLoss`: reduction mean does not return the true divergence
    """

    code, slug, severity = "LOS008", "kl-reduction-mean", Severity.WARNING
    fix = Applicability.UNSAFE

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per divergence with the mean over all elements."""
        graph = FlowGraph(program)
        places: set[Location] = set()
        for loss in trained_losses(program, frozenset({"kl_div"})):
            reduction = loss.args.get("reduction")
            if (
                reduction is None
                or reduction.constant != "mean"
                or {"size_average", "reduce"} & {*loss.args}
            ):
                continue
            if _rescaled(graph, loss) or not one_per_place(places, loss.location):
                continue
            yield self.finding(
                loss.location,
                "kl_div averages over the classes as well as the batch, so the divergence is divided by "
                "the number of classes",
                help='pass reduction="batchmean"',
                fix=self.repair(
                    "average over the batch",
                    loss_edits.set_loss_argument(program, loss, "reduction", '"batchmean"'),
                ),
            )


def _rescaled(graph: FlowGraph, loss: LossCall) -> bool:
    """Whether the result is multiplied by something unknown, such as a number of classes."""
    flow = graph.get(loss.flow)
    for user in graph.users(flow) if flow is not None else ():
        if user.op == "mul":
            factors = [
                user.args[side] for side in ("left", "right", "0", "other") if side in user.args
            ]
            if any(not (f.candidates or f.object is not None or f.name) for f in factors):
                return True
    return False
