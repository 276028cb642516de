"""LOS012: a forward whose result is detached from its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Confidence, Severity
from convlint.program.facts import EventKind
from convlint.rules import Rule
from convlint.rules.patterns.flows import FlowGraph, one_per_place
from convlint.rules.patterns.gradients import Gradients, events_of_kind, holds_weights

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Finding, Location
    from convlint.program.facts import Flow, Model, TrainingProgram

CUTS = frozenset({"detach", "data", "numpy", "tensor", "as_tensor", "from_numpy", "variable"})
"""Operations whose result has no history, or, for as_tensor and from_numpy, none of an array."""


class GraphCutInForward(Rule):
    """Everything the model returns is cut from its weights.

    ## What it does
    Follows the outputs of a trained model's `forward` back to its weights, and reports when every way
    passes `detach()`, `.data`, a NumPy array or `torch.tensor(...)`.

    ## Why it hurts
    The loss then depends on no weight. PyTorch raises an error at `backward()`, or, when another term
    of the loss has a graph, trains without this model and says nothing.

    ## Example
        import torch
        import torch.nn.functional as F
        from torch import nn

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.hidden = nn.Linear(20, 32)
                self.out = nn.Linear(32, 10)

            def forward(self, x):
                scores = self.out(torch.relu(self.hidden(x)))
                return scores.detach()

        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(64, 20)
        y = torch.randint(0, 10, (64,))
        for epoch in range(10):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()

    ## Use instead
        import torch
        import torch.nn.functional as F
        from torch import nn

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.hidden = nn.Linear(20, 32)
                self.out = nn.Linear(32, 10)

            def forward(self, x):
                scores = self.out(torch.relu(self.hidden(x)))
                return scores

        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(64, 20)
        y = torch.randint(0, 10, (64,))
        for epoch in range(10):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()

    ## When it is fine
    Stop-gradient on one branch of several (target networks, vector quantisation, averages of weights),
    a frozen backbone before a trained head, a model that is never trained here.

    ## Measured
    `convlint probe` looks for parameters that receive no gradient, or zero; another term of the loss
    can give them one, so silence refutes nothing.

    ## References
    - PyTorch, `torch.Tensor.detach`: the result will never require gradient
    """

    code, slug, severity = "LOS012", "graph-cut-in-forward", Severity.WARNING
    confidence = Confidence.MEDIUM
    confirmed_by = ("parameter-without-gradient",)
    silence_refutes = False

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per trained model none of whose outputs keeps its graph."""
        graph = FlowGraph(program)
        trained = _trained_models(program, graph)
        places: set[Location] = set()
        for model in program.models:
            if not model.forward_known or not model.complete or model.object not in trained:
                continue
            cut = _cut(graph, model)
            if cut is not None and cut.location is not None and one_per_place(places, cut.location):
                yield self.finding(
                    cut.location,
                    f"every output of {model.cls.rpartition('.')[2]} is cut from its weights here, so the "
                    "loss cannot train them",
                    help="return the tensor itself, and detach only what is read for logging",
                )


def _trained_models(program: TrainingProgram, graph: FlowGraph) -> set[int]:
    """The models an optimizer holds whose result goes into something back-propagated."""
    gradients = Gradients(program, graph)
    optimised = {number for item in program.objects for number in item.parameters_of or ()}
    return {
        event.target
        for event in events_of_kind(program, EventKind.FORWARD)
        if event.target in optimised and gradients.is_trained(event.flow)
    }


def _cut(graph: FlowGraph, model: Model) -> Flow | None:
    """The first cut behind the outputs when weights lie behind cuts alone."""
    cuts: list[Flow] = []
    seen: set[int] = set()
    pending: list[int] = list(model.outputs)
    while pending:
        flow = graph.get(pending.pop())
        if flow is None or flow.id in seen:
            continue
        seen.add(flow.id)
        if flow.op in CUTS and flow.inputs:
            cuts.append(flow)
        elif flow.detached or holds_weights(flow.op) or flow.op in ("<unknown>", "<symbol>"):
            return None
        else:
            pending.extend(flow.inputs)
    behind = (cut for cut in cuts if any(holds_weights(f.op) for f in graph.ancestors(cut.id)))
    return next(behind, None)
