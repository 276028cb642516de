"""NUM006: a division by something that can be zero."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Confidence, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.flows import PLACEMENT_OPS, FlowGraph, one_per_place
from convlint.rules.patterns.gradients import Gradients

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Finding, Location
    from convlint.program.facts import Flow, TrainingProgram
    from convlint.rules import Changes

SCALES = frozenset({"norm", "std", "vector_norm"})
DECISIONS = frozenset({"compare", "gt", "lt", "ne", "eq", "bool"})


class DivNoEps(Rule):
    """A norm, a standard deviation or a count divides without a guard.

    ## What it does
    Reports divisions by `norm`, `std` or the sum of a mask on the gradient's way, with nothing added to
    them and no lower bound.

    ## Why it hurts
    One zero vector, one constant feature or one empty mask in a batch makes the result and every gradient
    NaN.

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
            features = model(x)
            loss = (features / features.norm(dim=1, keepdim=True)).pow(4).sum()
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
            loss = F.normalize(model(x), dim=1).pow(4).sum()
            loss.backward()
            optimizer.step()

    ## When it is fine
    A constant added, `clamp(min=...)`, `F.normalize`. The rule is off unless selected.

    ## Measured
    `convlint probe` looks for NaN and infinities; they come late, so silence refutes nothing.

    ## References
    - PyTorch, `torch.nn.functional.normalize`: divides by max(norm, eps)
    """

    code, slug, severity = "NUM006", "div-no-eps", Severity.WARNING
    fix = Applicability.UNSAFE
    confidence = Confidence.MEDIUM
    default = False
    confirmed_by = ("non-finite",)
    silence_refutes = False

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per unguarded division on the gradient's way."""
        graph = FlowGraph(program)
        gradients = Gradients(program, graph)
        places: set[Location] = set()
        for flow in program.flows:
            if flow.op != "div" or len(flow.inputs) != 2 or not gradients.passes(flow):
                continue
            divisor = graph.origins(flow.inputs[1], PLACEMENT_OPS)
            if len(divisor) != 1 or flow.location is None or not _can_vanish(graph, divisor[0]):
                continue
            if one_per_place(places, flow.location):
                what = "a count" if divisor[0].op == "sum" else f"a {divisor[0].op}"
                yield self.finding(
                    flow.location,
                    f"the division by {what} gives NaN where that is 0",
                    help="add a small constant or a lower bound to the divisor",
                    fix=self.repair(
                        "give the divisor a lower bound",
                        _bounded(program, flow.location, "1" if divisor[0].op == "sum" else "1e-8"),
                    ),
                )


def _can_vanish(graph: FlowGraph, divisor: Flow) -> bool:
    """Whether a divisor is a scale, or the sum of a mask."""
    if divisor.op in SCALES:
        return True
    if divisor.op != "sum" or not divisor.inputs:
        return False
    counted = graph.origins(divisor.inputs[0], PLACEMENT_OPS)
    return bool(counted) and all(flow.op in DECISIONS for flow in counted)


def _bounded(program: TrainingProgram, place: Location, least: str) -> Changes:
    layout = program.layout(place)
    sides = None if layout is None else layout.binary(place)
    return None if sides is None else edits.call_method(program, sides[2], f".clamp(min={least})")
