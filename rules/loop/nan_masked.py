"""LOP032: values that are not finite are made to look finite."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from convlint.findings import Confidence, Finding, Severity
from convlint.lazy_regex import lazy_regex
from convlint.program.facts import Branch, Event, EventKind, Loop
from convlint.rules import Rule
from convlint.rules.patterns.flows import SHAPE_OPS, FlowGraph, one_per_place
from convlint.rules.patterns.ownership import is_managed
from convlint.rules.patterns.paths import occurrences
from convlint.rules.patterns.training_loops import training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import Node, TrainingProgram

NOT_FINITE = lazy_regex(r"\bis_?nan\b|\bisinf\b|\bisfinite\b|\bis_?finite\b", re.IGNORECASE)


class NanMasked(Rule):
    """Values that are not finite are hidden from the training.

    ## What it does
    Reports `nan_to_num` on a loss or on gradients, and a batch skipped without a word after its
    backward because something is NaN, while its gradients are not cleared before the next backward.

    ## Why it hurts
    The cause stays and shows later, as a model that has stopped learning. A skipped batch whose
    gradients stay makes every following sum of gradients NaN as well.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for x, y in loader:
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            if torch.isnan(loss):
                continue
            optimizer.step()
            optimizer.zero_grad()

    ## Use instead
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for x, y in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            if not torch.isfinite(loss):
                raise FloatingPointError("the loss is not finite")
            loss.backward()
            optimizer.step()

    ## When it is fine
    Skipping a batch before its backward, or with a message, a counter, or a clear of the gradients;
    `nan_to_num` on inputs, rewards and scores: none is reported.

    ## Measured
    `convlint probe` names the first operation that gives a value that is not finite (`non-finite`).

    ## References
    - PyTorch documentation, `torch.nan_to_num`, `torch.autograd.set_detect_anomaly`
    """

    code = "LOP032"
    slug = "nan-masked"
    severity = Severity.WARNING
    confidence = Confidence.MEDIUM
    confirmed_by = ("non-finite",)
    silence_refutes = False
    unmeasured_because = "values that are not finite may come later than the probe looks"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report masks over losses and gradients, and skips that leave gradients behind."""
        places: set[Location] = set()
        graph = FlowGraph(program)
        losses = {loss.flow for loss in program.losses}
        for flow in program.flows:
            if flow.op not in ("nan_to_num", "nan_to_num_") or flow.location is None:
                continue
            origins = graph.origins(flow.inputs[0] if flow.inputs else None, SHAPE_OPS)
            masked = next((o for o in origins if o.id in losses or o.op == "grad"), None)
            if masked is not None and one_per_place(places, flow.location):
                what = "gradient" if masked.op == "grad" else "loss"
                yield self.finding(
                    flow.location,
                    f"this turns a {what} that is not finite into an ordinary number",
                    help="find where it comes from: torch.autograd.set_detect_anomaly(True) names "
                    "the operation",
                )
        for loop in training_loops(program):
            if is_managed(program, loop):
                continue
            skip = _leaving_gradients(program, loop.loop.body)
            if skip is not None and one_per_place(places, skip.location):
                yield self.finding(
                    skip.location,
                    "a batch is skipped here without a word, and its gradients stay in what the "
                    "next backward adds to",
                    help="clear the gradients before `continue`, and count or log what is skipped",
                )


def _leaving_gradients(program: TrainingProgram, body: tuple[Node, ...]) -> Branch | None:
    """The silent skip that comes after a backward which no clear comes before."""
    differentiated = False
    for node in body:
        if isinstance(node, Branch):
            kinds = {o.kind for o in occurrences((node,))}
            if differentiated and _skips(program, node):
                return node
            if EventKind.ZERO_GRAD in kinds and not differentiated:
                return None
        elif isinstance(node, Event):
            if node.kind is EventKind.ZERO_GRAD and not differentiated:
                return None
            differentiated = differentiated or node.kind is EventKind.BACKWARD
            if node.kind is EventKind.ZERO_GRAD:
                return None
        elif isinstance(node, Loop):
            return None
    return None


def _skips(program: TrainingProgram, branch: Branch) -> bool:
    return (
        branch.location in program.silent_skips
        and NOT_FINITE.search(branch.condition) is not None
        and bool(branch.arms)
        and branch.arms[0].ends == "continue"
        and not branch.arms[0].body
    )
