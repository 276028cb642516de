"""NUM008: a mask value that float16 cannot hold."""

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
    from convlint.program.facts import Flow, TrainingProgram
    from convlint.rules import Changes

LEAST = -65504.0
"""The least finite float16."""


class HalfMaskConstant(Rule):
    """A mask is filled with a number beyond the range of float16.

    ## What it does
    Reports `masked_fill` with a constant below -65504 on a float16 tensor, cast by hand or computed under
    float16 autocast.

    ## Why it hurts
    float16 ends at 65504. PyTorch raises an error, or, where the value becomes -inf, a row that is masked
    as a whole turns into NaN in the softmax.

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
            scores = model(x).half().masked_fill(x[:, :10] > 0, -1e9)
            loss = F.cross_entropy(scores.float(), y)
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
            scores = scores.masked_fill(x[:, :10] > 0, torch.finfo(scores.dtype).min)
            loss = F.cross_entropy(scores.float(), y)
            loss.backward()
            optimizer.step()

    ## When it is fine
    `torch.finfo(dtype).min`; bfloat16, which has the range of float32; float32.

    ## Measured
    `convlint probe` looks for NaN and infinities; they come late, so silence refutes nothing.

    ## References
    - PyTorch, `torch.finfo`
    """

    code, slug, severity = "NUM008", "half-mask-constant", Severity.WARNING
    fix = Applicability.UNSAFE
    confidence = Confidence.MEDIUM
    confirmed_by = ("non-finite",)
    silence_refutes = False

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per mask constant that overflows float16."""
        graph = FlowGraph(program)
        half = HalfPrecision(program, graph)
        places: set[Location] = set()
        for flow in program.flows:
            if flow.op != "masked_fill" or not flow.inputs or flow.location is None:
                continue
            values = [constant_operand(flow, name) for name in ("value", "1", "2")]
            value = next((v for v in values if v is not None), None)
            if value is None or not float("-inf") < value < LEAST:
                continue
            if half.is_half(flow.inputs[0]) and one_per_place(places, flow.location):
                yield self.finding(
                    flow.location,
                    f"{value:g} is beyond the range of float16, which ends at -65504",
                    help="use torch.finfo(tensor.dtype).min",
                    fix=self.repair("use the least value of its type", _least(program, flow)),
                )


def _least(program: TrainingProgram, flow: Flow) -> Changes:
    call, layout = edits.call_at(program, flow.location), program.layout(flow.location)
    finfo = edits.name_for(program, flow.location, "torch.finfo")
    tensor = edits.operand_of(program, flow.location)
    if call is None or layout is None or finfo is None or tensor is None:
        return None
    given = call.argument("value", 1 if tensor == call.receiver else 2)
    name = layout.text(tensor)
    half = edits.name_for(program, flow.location, "torch.float16")
    if given is None or half is None or not layout.literal(given.value):
        return None
    dtype = f"{name}.dtype" if layout.is_path_of_names(name) else half[0]
    return ((edits.replace(given.value, f"{finfo[0]}({dtype}).min")) or ()) + finfo[1]
