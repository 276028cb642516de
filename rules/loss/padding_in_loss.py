"""LOS013: padding that counts as a target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Confidence, Related, Severity
from convlint.rules import Rule
from convlint.rules.patterns import loss_edits
from convlint.rules.patterns.flows import SHAPE_OPS, FlowGraph, one_per_place
from convlint.rules.patterns.losses import trained_losses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Finding, Location
    from convlint.program.facts import TrainingProgram

LABELS = SHAPE_OPS - {"masked_select"}


class PaddingInLoss(Rule):
    """Padded positions count as targets of the loss.

    ## What it does
    Reports a `cross_entropy` whose target comes from `pad_sequence` with a padding value that is not
    the loss's `ignore_index`, when nothing masks the result.

    ## Why it hurts
    The model is rewarded for predicting the padding, which is the easiest class and often the most
    frequent one: the loss looks good and the sequences do not.

    ## Example
        import torch
        import torch.nn.functional as F
        from torch import nn
        from torch.nn.utils.rnn import pad_sequence

        sentences = [torch.tensor([1, 2, 3]), torch.tensor([4, 5])]
        tags = [torch.tensor([0, 1, 1]), torch.tensor([1, 0])]
        tokens = pad_sequence(sentences, batch_first=True)
        wanted = pad_sequence(tags, batch_first=True)
        model = nn.Sequential(nn.Embedding(6, 8), nn.Linear(8, 2))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for epoch in range(10):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(tokens).transpose(1, 2), wanted)
            loss.backward()
            optimizer.step()

    ## Use instead
        import torch
        import torch.nn.functional as F
        from torch import nn
        from torch.nn.utils.rnn import pad_sequence

        sentences = [torch.tensor([1, 2, 3]), torch.tensor([4, 5])]
        tags = [torch.tensor([0, 1, 1]), torch.tensor([1, 0])]
        tokens = pad_sequence(sentences, batch_first=True)
        wanted = pad_sequence(tags, batch_first=True, padding_value=-100)
        model = nn.Sequential(nn.Embedding(6, 8), nn.Linear(8, 2))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for epoch in range(10):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(tokens).transpose(1, 2), wanted)
            loss.backward()
            optimizer.step()

    ## When it is fine
    `padding_value=-100`, a matching `ignore_index`, `reduction="none"` with a mask, packed sequences,
    targets selected by a mask.

    ## Measured
    Nothing is measured for it.

    ## References
    - PyTorch, `torch.nn.CrossEntropyLoss`: ignore_index
    """

    code, slug, severity = "LOS013", "padding-in-loss", Severity.WARNING
    fix = Applicability.UNSAFE
    confidence = Confidence.MEDIUM

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per cross-entropy over targets that were padded."""
        graph = FlowGraph(program)
        places: set[Location] = set()
        for loss in trained_losses(program, frozenset({"cross_entropy", "nll_loss"})):
            reduction, ignored = loss.args.get("reduction"), loss.args.get("ignore_index")
            if reduction is None or reduction.constant not in ("mean", "sum"):
                continue
            padded = graph.agreed_origin(loss.target, frozenset({"pad_sequence"}), LABELS)
            if padded is None or ignored is None or _masked(graph, loss.target):
                continue
            value = padded.args.get("padding_value", padded.args.get("2"))
            padding = 0.0 if value is None else value.number
            if padding is None or ignored.number is None or padding == ignored.number:
                continue
            if one_per_place(places, loss.location):
                yield self.finding(
                    loss.location,
                    f"targets are padded with {padding:g}, which counts as a class here (ignore_index is "
                    f"{ignored.number:g})",
                    help="pad targets with -100, or pass ignore_index",
                    fix=self.repair(
                        "leave the padding out of the loss",
                        loss_edits.set_loss_argument(program, loss, "ignore_index", f"{padding:g}"),
                    ),
                    related=(Related(padded.location, "padded here"),) if padded.location else (),
                )


def _masked(graph: FlowGraph, number: int | None) -> bool:
    """Whether rows of a tensor were selected by another tensor on the way."""
    for flow in graph.ancestors(number):
        index = flow.args.get("index") if flow.op == "getitem" else None
        if index is not None and (index.flow is not None or index.object is not None):
            return True
    return False
