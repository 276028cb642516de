"""NUM009: a guard that is zero in float16."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Confidence, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.flows import FlowGraph, one_per_place
from convlint.rules.patterns.half_precision import HalfPrecision
from convlint.rules.patterns.offsets import constant_operand

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Finding, Location
    from convlint.program.facts import TrainingProgram
    from convlint.rules import Changes

VANISHES = 2.0**-25
"""Half of the smallest float16: anything up to it rounds to zero."""


class EpsUnderflowsHalf(Rule):
    """The small constant that guards a division is zero in float16.

    ## What it does
    Reports a constant below 3e-8 added to a float16 tensor.

    ## Why it hurts
    The smallest float16 is 6e-8; 1e-8 rounds to 0, so the guard guards nothing and the division or
    logarithm behind it gives inf or NaN.

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
            scores = model(x).half()
            loss = (scores / (scores.sum() + 1e-8)).float().sum()
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
            scores = model(x).half()
            loss = (scores / (scores.sum() + 1e-5)).float().sum()
            loss.backward()
            optimizer.step()

    ## When it is fine
    1e-7 and above, float32 (cast before the sum), bfloat16.

    ## Measured
    `convlint probe` looks for NaN and infinities; they come late, so silence refutes nothing.

    ## References
    - IEEE 754 binary16: smallest subnormal 2**-24
    """

    code, slug, severity = "NUM009", "eps-underflows-half", Severity.WARNING
    fix = Applicability.UNSAFE
    confidence = Confidence.MEDIUM
    confirmed_by = ("non-finite",)
    silence_refutes = False

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per constant that vanishes in float16."""
        graph = FlowGraph(program)
        half = HalfPrecision(program, graph)
        places: set[Location] = set()
        for flow in program.flows:
            if flow.op != "add" or len(flow.inputs) != 1 or flow.location is None:
                continue
            added = [constant_operand(flow, name) for name in ("right", "left", "0", "other")]
            small = next((v for v in added if v is not None and 0 < v <= VANISHES), None)
            if small is None or not half.is_half(flow.inputs[0]):
                continue
            if one_per_place(places, flow.location):
                yield self.finding(
                    flow.location,
                    f"{small:g} is 0 in float16, so it guards nothing",
                    help="use 1e-5, or cast to float32 first",
                    fix=self.repair("use 1e-5", _larger(program, flow.location)),
                )


def _larger(program: TrainingProgram, place: Location) -> Changes:
    layout = program.layout(place)
    sides = None if layout is None else layout.binary(place)
    if layout is None or sides is None:
        return None
    written = [side for side in (sides[0], sides[2]) if layout.literal(side)]
    return edits.replace(written[0], "1e-5") if len(written) == 1 else None
