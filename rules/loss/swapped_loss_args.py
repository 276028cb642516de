"""LOS017: target and prediction in each other's place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.flows import SHAPE_OPS, FlowGraph, objects_by_id, one_per_place
from convlint.rules.patterns.gradients import Gradients
from convlint.rules.patterns.losses import trained_losses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Finding, Location
    from convlint.program.facts import Flow, Object, TrainingProgram

ASYMMETRIC = frozenset(
    {"cross_entropy", "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits",
     "kl_div", "poisson_nll_loss", "gaussian_nll_loss"}
)  # fmt: skip
TARGET_NAMES = frozenset(
    {"label", "labels", "target", "targets", "y", "gt", "truth", "y_true", "ground_truth"}
)
PREDICTION_NAMES = frozenset(
    {"pred", "preds", "prediction", "predictions", "out", "output", "outputs", "logit", "logits",
     "score", "scores", "y_pred", "y_hat"}
)  # fmt: skip


class SwappedLossArgs(Rule):
    """A loss receives the target first and the prediction second.

    ## What it does
    Reports an asymmetric loss whose first argument is a target (the second item of a batch, or an
    argument named so) and whose second is a prediction (the output of a layer, or an argument named
    so).

    ## Why it hurts
    The logarithm or softmax is applied to the labels, and the prediction only weights it: the gradient
    points nowhere useful. Many of these calls run without an error.

    ## Example
        import torch
        import torch.nn.functional as F
        from torch import nn

        model = nn.Linear(20, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(64, 20)
        y = torch.rand(64, 1)
        loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=8)
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.binary_cross_entropy_with_logits(y, model(x))
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
        loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=8)
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.binary_cross_entropy_with_logits(model(x), y)
            loss.backward()
            optimizer.step()

    ## When it is fine
    Symmetric losses (`mse_loss`, `l1_loss`), cosine and triplet losses, two predictions.

    ## Measured
    Nothing is measured for it.

    ## References
    - PyTorch, loss functions: input first, target second
    """

    code, slug, severity = "LOS017", "swapped-loss-args", Severity.ERROR
    fix = Applicability.UNSAFE

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per loss whose arguments surely stand in each other's place."""
        graph, objects = FlowGraph(program), objects_by_id(program)
        gradients = Gradients(program, graph)
        places: set[Location] = set()
        for loss in trained_losses(program, ASYMMETRIC):
            roles = [_role(graph, gradients, objects, n) for n in (loss.input, loss.target)]
            if roles == ["target", "prediction"] and one_per_place(places, loss.location):
                yield self.finding(
                    loss.location,
                    f"{loss.name} takes the prediction first and the target second; here they are swapped",
                    help="exchange the two arguments",
                    fix=self.repair(
                        "exchange the two arguments", edits.swap_arguments(program, loss.location)
                    ),
                )


def _role(
    graph: FlowGraph, gradients: Gradients, objects: dict[int, Object], number: int | None
) -> str:
    """What a tensor is by where it comes from; empty when that does not tell."""
    if gradients.carries(number):
        return "prediction"
    roles = {_source_role(objects, flow) for flow in graph.origins(number, SHAPE_OPS)}
    return roles.pop() if len(roles) == 1 else ""


def _source_role(objects: dict[int, Object], flow: Flow) -> str:
    if flow.op == "<batch>" and flow.index is not None and flow.index > 0:
        return "target"
    source = objects.get(-1 if flow.source is None else flow.source)
    if flow.op != "<symbol>" or source is None:
        return ""
    words = {name.rpartition(".")[2].lower() for name in source.names}
    if words & TARGET_NAMES:
        return "" if words & PREDICTION_NAMES else "target"
    return "prediction" if words & PREDICTION_NAMES else ""
