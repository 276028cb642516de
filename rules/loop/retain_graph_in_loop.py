"""LOP016: the graph is kept although nothing goes back through it again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Confidence, Finding, Severity
from convlint.program.facts import EventKind
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.flows import UNKNOWN_SOURCES, FlowGraph, one_per_place
from convlint.rules.patterns.training_loops import training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram
    from convlint.rules.patterns.training_loops import TrainingLoop


class RetainGraphInLoop(Rule):
    """`retain_graph=True` keeps a graph that nothing uses again.

    ## What it does
    Reports `backward(retain_graph=True)` as the only backward of a training loop whose forward
    pass is made anew in every iteration.

    ## Why it hurts
    The activations of a batch stay in memory longer than needed. Worse, the flag hides the
    error PyTorch raises when a loss reaches into the previous iteration, as with a hidden state
    that was not detached.

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
                loss = criterion(model(x), y)
                loss.backward(retain_graph=True)
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
    Several backward passes through one graph (GANs, several losses), `create_graph`, gradients
    of gradients, graphs built before the loop: none is reported.

    ## Measured
    Not measured: over the few steps of a probe the memory it costs is too little to tell.

    ## References
    - PyTorch documentation, `torch.Tensor.backward`
    """

    code = "LOP016"
    slug = "retain-graph-in-loop"
    severity = Severity.WARNING
    fix = Applicability.UNSAFE
    confidence = Confidence.MEDIUM

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report the lone backward of a loop when it keeps its graph."""
        graph: FlowGraph | None = None
        places: set[Location] = set()
        for loop in training_loops(program):
            backwards = {o.event.location: o for o in loop.of_kind(EventKind.BACKWARD)}
            if len(backwards) != 1 or loop.has(EventKind.GRAD_WRITE, EventKind.UNKNOWN_CALL):
                continue
            (backward,) = backwards.values()
            flags = backward.event.flags
            if "retain_graph" not in flags or "create_graph" in flags or backward.loops:
                continue
            graph = graph or FlowGraph(program)
            if _made_here(graph, loop, backward.event.flow) and one_per_place(
                places, backward.event.location
            ):
                yield self.finding(
                    backward.event.location,
                    "`retain_graph=True` keeps a graph that no other backward uses",
                    help="drop the argument; if PyTorch then raises, something from the previous "
                    "iteration has to be detached",
                    fix=self.repair(
                        "drop `retain_graph`",
                        edits.remove_argument(program, backward.event.location, "retain_graph", 1),
                    ),
                )


def _made_here(graph: FlowGraph, loop: TrainingLoop, number: int | None) -> bool:
    """Whether every module call behind the loss happens in this loop, and no state is carried."""
    here = {o.event.flow for o in loop.of_kind(EventKind.FORWARD)}
    behind = graph.attached_ancestors(number)
    if any(not behind.isdisjoint(c.before) for c in loop.loop.carried):
        return False
    covered = {flow.id for n in here & behind for flow in graph.ancestors(n)}
    used = [flow for n in behind if (flow := graph.get(n)) is not None]
    return bool(here & behind) and all(
        flow.id in covered for flow in used if flow.layer is not None or flow.op in _ELSEWHERE
    )


_ELSEWHERE = UNKNOWN_SOURCES | {"<parameter>", "<join>"}
