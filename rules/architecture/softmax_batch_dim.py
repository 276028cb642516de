"""NRM016: a softmax across the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import (
    Confidence,
    Evidence,
    Finding,
    Related,
    Severity,
)
from convlint.program.facts import ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns.flows import (
    PLACEMENT_OPS,
    FlowGraph,
    objects_by_id,
    one_per_place,
)
from convlint.rules.patterns.layers import (
    is_weight_layer,
)
from convlint.rules.patterns.losses import trained_losses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import (
        TrainingProgram,
    )

CLASSIFICATION = frozenset({"cross_entropy", "nll_loss"})


class SoftmaxBatchDim(Rule):
    """The softmax of the class scores runs over the batch.

    ## What it does
    Reports `softmax` or `log_softmax` with `dim=0` on the scores of a batch that go straight into
    a classification loss.

    ## Why it hurts
    The probabilities of one class then sum to one over the examples of the batch, not those of one
    example over the classes. The loss still falls, and the classifier is wrong on any other batch
    size.

    ## Example
        import torch
        from torch import nn

        from torch.utils.data import DataLoader, TensorDataset

        loader = DataLoader(TensorDataset(torch.randn(512, 20), torch.randint(0, 4, (512,))), batch_size=64, shuffle=True)
        model = nn.Linear(20, 4)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for x, y in loader:
            optimizer.zero_grad()
            loss = nn.functional.nll_loss(torch.log_softmax(model(x), dim=0), y)
            loss.backward()
            optimizer.step()

    ## Use instead
        import torch
        from torch import nn

        from torch.utils.data import DataLoader, TensorDataset

        loader = DataLoader(TensorDataset(torch.randn(512, 20), torch.randint(0, 4, (512,))), batch_size=64, shuffle=True)
        model = nn.Linear(20, 4)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for x, y in loader:
            optimizer.zero_grad()
            loss = nn.functional.nll_loss(torch.log_softmax(model(x), dim=1), y)
            loss.backward()
            optimizer.step()

    ## When it is fine
    Attention over nodes or a set; a single example without a batch dimension.

    ## Measured
    `samples-leak-into-each-other` sees samples that depend on each other; its silence refutes
    nothing.

    ## References
    - PyTorch, `torch.nn.functional.log_softmax`
    """

    code, slug, severity = "NRM016", "softmax-batch-dim", Severity.WARNING
    confidence = Confidence.MEDIUM
    confirmed_by = ("samples-leak-into-each-other",)
    silence_refutes = False

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per softmax."""
        objects, graph = objects_by_id(program), FlowGraph(program)
        reported: set[Location] = set()
        for loss in trained_losses(program, CLASSIFICATION):
            for flow in graph.origins(loss.input, PLACEMENT_OPS):
                dim = flow.args.get("dim")
                if flow.op not in ("softmax", "log_softmax") or dim is None or dim.number != 0:
                    continue
                scores = graph.origins(flow.inputs[0] if flow.inputs else None, PLACEMENT_OPS)
                if not scores or not all(is_weight_layer(score.op) for score in scores):
                    continue
                batched = any(
                    source.op == "<batch>"
                    and source.source is not None
                    and objects[source.source].kind is ObjectKind.LOADER
                    for source in graph.ancestors(flow.id)
                )
                location = flow.location
                if batched and location is not None and one_per_place(reported, location):
                    yield self.finding(
                        location,
                        f"{flow.op} over dim 0 normalises across the examples of the batch, not "
                        "across the classes",
                        help="use dim=1 (or dim=-1)",
                        related=(Related(loss.location, "the loss it enters"),),
                        evidence=(Evidence("static", f"{flow.op}(dim=0) → {loss.name}"),),
                    )
