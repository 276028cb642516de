"""LOP014: a running total keeps the graph of every loss it took in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Finding, Location, Related, Severity
from convlint.program.facts import EventKind
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.flows import FlowGraph, one_per_place
from convlint.rules.patterns.training_loops import training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.program.facts import Event, TrainingProgram
    from convlint.rules import Changes
    from convlint.rules.patterns.training_loops import TrainingLoop


class LossGraphAccumulated(Rule):
    """A running total keeps the graph of every loss it took in.

    ## What it does
    Reports `total += loss` where `loss` still carries its graph and was back-propagated in the
    same loop.

    ## Why it hurts
    The total is a tensor that requires grad; it holds on to the graph of every batch it has seen.
    Memory grows from step to step until the run dies, often hours in, and each step gets slower.

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
            total = 0.0
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
                total += loss
            print(epoch, float(total) / len(loader))

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
            total = 0.0
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
                total += loss.detach()
            print(epoch, float(total) / len(loader))

    ## When it is fine
    Summing losses that are back-propagated together afterwards (`total.backward()`), sums under
    `no_grad`, `loss.item()` or `loss.detach()`: none is reported.

    ## Measured
    `growing-graph` counts the graphs that stay alive; its silence refutes nothing, since the sum may
    lie in a part of the script the probe did not reach.

    ## References
    - PyTorch FAQ, "My model reports cuda runtime error(2): out of memory"
    """

    code = "LOP014"
    slug = "loss-graph-accumulated"
    severity = Severity.WARNING
    fix = Applicability.SAFE
    confirmed_by = ("growing-graph",)
    silence_refutes = False

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report sums that take in a back-propagated loss with its graph."""
        graph: FlowGraph | None = None
        places: set[Location] = set()
        for loop in training_loops(program):
            if not loop.has(EventKind.ACCUMULATE):
                continue
            graph = graph or FlowGraph(program)
            for event, backward in _kept_losses(loop, graph):
                if one_per_place(places, event.location):
                    yield self.finding(
                        event.location,
                        "this sum keeps the autograd graph of every loss it takes in, so memory "
                        "grows with each step",
                        help="add `loss.detach()` (or `loss.item()`, which waits for the GPU)",
                        related=(Related(backward.location, "the loss is back-propagated here"),),
                        fix=self.repair(
                            "add the loss without its graph", _detached(event, backward)
                        ),
                    )


def _detached(event: Event, backward: Event) -> Changes:
    """Detach what is added, when that is the back-propagated loss and nothing around it.

    Both must stand in the same function, so that whatever is added there is a tensor.
    """
    if event.flow != backward.flow or event.via != backward.via:
        return None
    return edits.append(event.location, ".detach()")


def _kept_losses(loop: TrainingLoop, graph: FlowGraph) -> Iterator[tuple[Event, Event]]:
    """Accumulations with the backward of the same loss.

    The sum takes in the back-propagated loss itself or something computed from it. A term of the
    loss counts too once the backward has happened; before it, the sum may be what is
    back-propagated.
    """
    backwards: list[Event] = []
    everywhere = [o.event for o in loop.of_kind(EventKind.BACKWARD) if o.event.flow is not None]
    for occurrence in loop.occurrences:
        event = occurrence.event
        if event.kind is EventKind.BACKWARD and event.flow is not None:
            backwards.append(event)
        if event.kind is not EventKind.ACCUMULATE or {"no_grad", "append"} & {
            *event.context,
            *event.flags,
        }:
            continue
        attached = graph.attached_ancestors(event.flow)
        for backward in everywhere:
            behind = backward in backwards and event.flow in graph.attached_ancestors(backward.flow)
            if backward.flow in attached or behind:
                yield event, backward
                break
