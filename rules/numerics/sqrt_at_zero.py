"""NUM004: a square root whose gradient is infinite at zero."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Confidence, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.flows import SHAPE_OPS, FlowGraph, one_per_place
from convlint.rules.patterns.gradients import Gradients
from convlint.rules.patterns.offsets import constant_operand

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Finding, Location
    from convlint.program.facts import Flow, TrainingProgram
    from convlint.rules import Changes

VARIANCES = frozenset({"var"})
SUMS = frozenset({"sum", "mean"})
SQUARES = frozenset({"square"})


class SqrtAtZero(Rule):
    """A square root is taken of something that can be exactly zero.

    ## What it does
    Reports `sqrt` (or a power of one half) of a sum of squares, a variance or a `clamp(min=0)`, when a
    gradient passes through it and nothing is added inside.

    ## Why it hurts
    The derivative of the root at 0 is infinite; times the zero derivative of the square it is NaN. Two
    equal embeddings or one constant feature are enough. (`norm` and `std` are safe: PyTorch defines their
    gradient at 0 as 0.)

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
            loss = torch.sqrt((model(x) - model(x.roll(1, 0))).pow(2).sum(dim=1)).mean()
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
            loss = torch.sqrt((model(x) - model(x.roll(1, 0))).pow(2).sum(dim=1) + 1e-8).mean()
            loss.backward()
            optimizer.step()

    ## When it is fine
    A constant added inside the root, `norm`, `cdist`, `std`; roots under `no_grad` or of data.

    ## Measured
    `convlint probe` looks for NaN and infinities; they come late, so silence refutes nothing.

    ## References
    - PyTorch, `torch.sqrt`: the derivative at 0 is infinite
    """

    code, slug, severity = "NUM004", "sqrt-at-zero", Severity.WARNING
    fix = Applicability.UNSAFE
    confidence = Confidence.MEDIUM
    confirmed_by = ("non-finite",)
    silence_refutes = False

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per root of a value that can be zero, on the gradient's way."""
        graph = FlowGraph(program)
        gradients = Gradients(program, graph)
        places: set[Location] = set()
        for flow in program.flows:
            if not _is_root(flow) or not gradients.passes(flow):
                continue
            form = _zero_form(graph, flow.inputs[0])
            if form and flow.location is not None and one_per_place(places, flow.location):
                yield self.finding(
                    flow.location,
                    f"the square root of {form} has an infinite gradient where that is 0, and the chain "
                    "rule makes it NaN",
                    help="add a small constant inside the root, or use norm",
                    fix=self.repair(
                        "add a small constant inside the root", _guarded(program, flow.location)
                    ),
                )


def _is_root(flow: Flow) -> bool:
    if not flow.inputs or not (flow.name.startswith("torch.") or flow.op == "pow"):
        return False
    half = 0.5 in (constant_operand(flow, "right"), constant_operand(flow, "0"))
    return flow.op == "sqrt" or (flow.op == "pow" and half)


def _zero_form(graph: FlowGraph, number: int) -> str:
    """What can be zero in words; empty when the operand is of another kind."""
    origins = graph.origins(number, SHAPE_OPS)
    flow = origins[0] if len(origins) == 1 else None
    if flow is None:
        return ""
    if flow.op in VARIANCES:
        return "a variance"
    if flow.op in ("clamp", "clip", "clamp_min"):
        least = [constant_operand(flow, name) for name in ("min", "0", "1")]
        return "a value clamped at 0" if 0 in least else ""
    if flow.op in SUMS and flow.inputs:
        squared = graph.origins(flow.inputs[0], SHAPE_OPS)
        if len(squared) == 1 and _is_square(squared[0]):
            return f"a {flow.op} of squares"
    return ""


def _is_square(flow: Flow) -> bool:
    if flow.op in SQUARES:
        return True
    exponents = [constant_operand(flow, name) for name in ("right", "0", "1", "exponent")]
    return flow.op == "pow" and 2 in exponents and 0.5 not in exponents


def _guarded(program: TrainingProgram, place: Location) -> Changes:
    layout, call = program.layout(place), edits.call_at(program, place)
    if layout is None:
        return None
    if call is None:
        sides = layout.binary(place)
        return None if sides is None else edits.with_guard(program, sides[0], " + 1e-12")
    operand = edits.operand_of(program, place)
    return edits.with_guard(program, operand, " + 1e-12", bare=operand != call.receiver)
