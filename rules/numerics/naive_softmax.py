"""NUM005: a softmax written out without subtracting the maximum."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.flows import SHAPE_OPS, FlowGraph, one_per_place
from convlint.rules.patterns.layers import is_weight_layer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Finding, Location
    from convlint.program.facts import TrainingProgram
    from convlint.rules import Changes

SCALING = SHAPE_OPS | {"mul", "div"}
"""Operations by which scores stay as unbounded as they were (a temperature)."""


class NaiveSoftmax(Rule):
    """A softmax is written out as `exp(x) / exp(x).sum()`.

    ## What it does
    Reports a quotient of `exp(x)` and its own sum when the exponent is neither shifted by a maximum nor
    bounded.

    ## Why it hurts
    `exp` overflows float32 above 88 and float16 above 11; inf / inf is NaN.

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
            scores = model(x)
            probabilities = torch.exp(scores) / torch.exp(scores).sum(dim=1, keepdim=True)
            loss = -(probabilities[range(64), y] + 1e-8).log().mean()
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
            loss = -(torch.softmax(model(x), dim=1)[range(64), y] + 1e-8).log().mean()
            loss.backward()
            optimizer.step()

    ## When it is fine
    `exp(x - x.max())`, exponents that are negative, normalised or bounded (cosines, log-softmax, tanh).

    ## Measured
    `convlint probe` looks for NaN and infinities; they come late, so silence refutes nothing.

    ## References
    - PyTorch, `torch.nn.functional.softmax`
    """

    code, slug, severity = "NUM005", "naive-softmax", Severity.WARNING
    fix = Applicability.SAFE
    confirmed_by = ("non-finite",)
    silence_refutes = False

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per quotient of an exponential and its own sum."""
        graph = FlowGraph(program)
        places: set[Location] = set()
        for flow in program.flows:
            if flow.op != "div" or len(flow.inputs) != 2 or flow.location is None:
                continue
            above, below = (_exponent(graph, number) for number in flow.inputs)
            if above is None or above != below or not _unbounded(graph, above):
                continue
            total = graph.origins(flow.inputs[1], SHAPE_OPS)
            if any(origin.op != "sum" for origin in total):
                continue
            if one_per_place(places, flow.location):
                yield self.finding(
                    flow.location,
                    "exp(x) / exp(x).sum() overflows to NaN for large scores",
                    help="use softmax, which subtracts the maximum first",
                    fix=self.repair("use softmax", _softmax(program, flow.location)),
                )


def _exponent(graph: FlowGraph, number: int) -> int | None:
    """The tensor whose exponential (or the sum of it) ``number`` is."""
    for origin in graph.origins(number, SHAPE_OPS | {"sum"}):
        return origin.inputs[0] if origin.op == "exp" and origin.inputs else None
    return None


def _unbounded(graph: FlowGraph, number: int) -> bool:
    """Whether an exponent comes straight from a layer with weights."""
    origins = graph.origins(number, SCALING)
    return bool(origins) and all(is_weight_layer(origin.op) for origin in origins)


def _softmax(program: TrainingProgram, place: Location) -> Changes:
    """``exp(x) / exp(x).sum(d, keepdim=True)`` to ``softmax(x, dim=d)``."""
    layout = program.layout(place)
    sides = None if layout is None else layout.binary(place)
    name = edits.name_for(program, place, "torch.softmax")
    if layout is None or sides is None or name is None:
        return None
    exponential, total = layout.call(sides[0]), layout.call(sides[2])
    scores = edits.operand_of(program, sides[0])
    if exponential is None or total is None or scores is None:
        return None
    if exponential.method != "exp" or total.method != "sum":
        return None
    method = layout.names.qualified(total.callee_text) is None
    dim, kept = total.argument("dim", 0 if method else 1), total.argument("keepdim")
    if dim is None or kept is None or kept.text != "True":
        return None
    text = f"{name[0]}({layout.text(scores)}, dim={dim.text})"
    return ((edits.replace(place, text)) or ()) + name[1]
