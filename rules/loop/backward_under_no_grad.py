"""LOP012: the loss that is back-propagated was computed without gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Related, Severity
from convlint.program.facts import EventKind
from convlint.rules import Rule
from convlint.rules.patterns.flows import UNKNOWN_SOURCES, FlowGraph, one_per_place
from convlint.rules.patterns.training_loops import training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import Flow, TrainingProgram


class BackwardUnderNoGrad(Rule):
    """The loss that is back-propagated was computed without gradient.

    ## What it does
    Reports a `backward()` on a loss all of whose model outputs were computed under `no_grad` or
    `inference_mode`, or that was detached itself.

    ## Why it hurts
    There is no graph to go back through: PyTorch raises an error, or, where the loss is made to
    require a gradient by hand, no parameter receives one and nothing is learnt.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                with torch.no_grad():
                    logits = model(x)
                loss = criterion(logits, y)
                loss.backward()
                optimizer.step()

    ## Use instead
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()

    ## When it is fine
    A teacher's outputs under `no_grad` beside a student's with gradient, `enable_grad` inside
    `no_grad`, hand-made gradients, a function shared with evaluation that goes back only
    `if loss.requires_grad`: none is reported.

    ## Measured
    Not measured on its own: the run stops with PyTorch's error, or `parameter-without-gradient`
    shows it.

    ## References
    - PyTorch documentation, `torch.no_grad`
    - PyTorch notes, "Autograd mechanics", section on locally disabling gradient computation
    """

    code = "LOP012"
    slug = "backward-under-no-grad"
    severity = Severity.ERROR

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report backwards whose loss hangs on detached model outputs alone."""
        graph: FlowGraph | None = None
        places: set[Location] = set()
        for loop in training_loops(program):
            for backward in loop.of_kind(EventKind.BACKWARD):
                graph = graph or FlowGraph(program)
                if any(w in c.text.lower() for c in backward.conditions for w in _ASKS_FIRST):
                    continue
                cut = _detached_output(graph, backward.event.flow)
                if cut is None or not one_per_place(places, backward.event.location):
                    continue
                related = (
                    (Related(cut.location, "computed without gradient here"),)
                    if cut.location
                    else ()
                )
                yield self.finding(
                    backward.event.location,
                    "this loss carries no gradient: the model's output was computed without one",
                    help="compute the output of the trained model outside of `no_grad`",
                    related=related,
                )


def _detached_output(graph: FlowGraph, number: int | None) -> Flow | None:
    """A module's output without gradient that the loss rests on, when nothing it rests on has one.

    None when any part is unknown or may have a gradient.
    """
    cut: Flow | None = None
    seen: set[int] = set()
    pending = [number]
    while pending:
        flow = graph.get(pending.pop())
        if flow is None:
            return None
        if flow.id in seen:
            continue
        seen.add(flow.id)
        if flow.detached:
            cut = cut or next((f for f in graph.ancestors(flow.id) if f.layer is not None), None)
        elif flow.layer is not None or flow.op in _MAY_HAVE_GRADIENT:
            return None
        else:
            pending.extend(flow.inputs)
    return cut


_ASKS_FIRST = ("requires_grad", "grad_enabled", "train")
"""A function shared by training and evaluation goes back only after asking which of them it is."""

_MAY_HAVE_GRADIENT = UNKNOWN_SOURCES | {
    "<parameter>", "<input>", "<join>", "<constant>", "<array>", "autograd_grad",
}  # fmt: skip
"""A tensor made by hand may be given a gradient by hand, as a learnt temperature is."""
