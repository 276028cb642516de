"""NUM013: a standard deviation of possibly one element."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Confidence, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.flows import JOIN, PLACEMENT_OPS, FlowGraph, one_per_place
from convlint.rules.patterns.gradients import Gradients

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Finding, Location
    from convlint.program.facts import Flow, TrainingProgram
    from convlint.rules import Changes

CENTRED = PLACEMENT_OPS | {"sub"}
GUARDED = PLACEMENT_OPS | {"add"}


class StdOfOne(Rule):
    """A tensor is divided by its own unbiased standard deviation.

    ## What it does
    Reports `(x - x.mean()) / x.std()` over a whole tensor, with or without a constant added, when the
    unbiased estimate is used and the result goes into the loss.

    ## Why it hurts
    The unbiased standard deviation of one element is 0 / 0: NaN, which a constant added to it does not
    mend. The last minibatch or an episode of one step is enough.

    ## Example
        import torch
        import torch.nn.functional as F
        from torch import nn

        model = nn.Linear(20, 10)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(64, 20)
        y = torch.randint(0, 10, (64,))
        for epoch in range(10):
            optimizer.zero_grad()
            advantages = model(x).sum(dim=1)
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
            loss = advantages.pow(4).mean()
            loss.backward()
            optimizer.step()

    ## Use instead
        import torch
        import torch.nn.functional as F
        from torch import nn

        model = nn.Linear(20, 10)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(64, 20)
        y = torch.randint(0, 10, (64,))
        for epoch in range(10):
            optimizer.zero_grad()
            advantages = model(x).sum(dim=1)
            advantages = (advantages - advantages.mean()) / (advantages.std(correction=0) + 1e-8)
            loss = advantages.pow(4).mean()
            loss.backward()
            optimizer.step()

    ## When it is fine
    `correction=0` or `unbiased=False` with a constant added, a whole data set, tensors that always have
    several elements.
    The rule is off unless selected.

    ## Measured
    `convlint probe` looks for NaN and infinities; they come late, so silence refutes nothing.

    ## References
    - PyTorch, `torch.std`: correction
    """

    code, slug, severity = "NUM013", "std-of-one", Severity.WARNING
    fix = Applicability.UNSAFE
    confidence = Confidence.MEDIUM
    default = False
    confirmed_by = ("non-finite",)
    silence_refutes = False

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per tensor standardised by its unbiased deviation."""
        graph = FlowGraph(program)
        gradients = Gradients(program, graph)
        places: set[Location] = set()
        for flow in program.flows:
            if flow.op != "div" or len(flow.inputs) != 2 or flow.location is None:
                continue
            spread = graph.agreed_origin(flow.inputs[1], frozenset({"std"}), GUARDED)
            if spread is None or spread.args or not spread.name.startswith("torch."):
                continue
            if not gradients.is_trained(flow.id):
                continue
            if _is_data(graph, flow) and not gradients.carries(flow.id):
                continue
            over = {origin.id for origin in graph.origins(spread.inputs[0], PLACEMENT_OPS)}
            if not over & {origin.id for origin in graph.origins(flow.inputs[0], CENTRED)}:
                continue
            if _only_sometimes(graph, flow, over):
                continue
            if one_per_place(places, flow.location):
                yield self.finding(
                    flow.location,
                    "the unbiased standard deviation of a single element is NaN",
                    help="use std(correction=0), or skip the division for a single element",
                    fix=self.repair(
                        "divide by the deviation of what is there",
                        _biased(program, flow.location, spread.location),
                    ),
                )


def _only_sometimes(graph: FlowGraph, flow: Flow, undivided: set[int]) -> bool:
    """Whether a test decides between the quotient and the tensor as it was: the size, mostly."""
    return any(
        user.op == JOIN and not undivided.isdisjoint(user.inputs) for user in graph.users(flow)
    )


def _is_data(graph: FlowGraph, flow: Flow) -> bool:
    """Whether a tensor is made of loaded arrays and constants alone: as long as the data set."""
    sources = [ancestor.op for ancestor in graph.ancestors(flow.id) if not ancestor.inputs]
    return all(op in ("<array>", "<constant>") for op in sources)


def _biased(program: TrainingProgram, division: Location, spread: Location | None) -> Changes:
    """``x / x.std()`` to ``x / (x.std(correction=0) + 1e-8)``; a guard that is there stays."""
    layout = program.layout(division)
    sides = None if layout is None else layout.binary(division)
    written = edits.add_keyword(program, spread, "correction", "0")
    if sides is None or written is None or spread is None:
        return None
    if sides[2] != spread:
        return written
    return (
        *(edits.insert_at(spread, "(") or ()),
        *written,
        *(edits.append(spread, " + 1e-8)") or ()),
    )
