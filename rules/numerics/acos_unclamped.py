"""NUM011: an inverse cosine at the edge of its domain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Confidence, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.flows import SHAPE_OPS, FlowGraph, one_per_place
from convlint.rules.patterns.gradients import Gradients

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Finding, Location
    from convlint.program.facts import Flow, TrainingProgram

INVERSES = frozenset({"acos", "arccos", "asin", "arcsin", "atanh", "arctanh"})
PRODUCTS = frozenset({"matmul", "mm", "bmm", "einsum", "linear", "sum"})


class AcosUnclamped(Rule):
    """The inverse cosine of a cosine similarity is taken without a clamp.

    ## What it does
    Reports `acos`, `asin` and `atanh` of a cosine similarity or of a product of normalised tensors, when a
    gradient passes through.

    ## Why it hurts
    Rounding takes a cosine of 1 slightly above 1, where acos is NaN; at 1 its gradient is infinite.

    ## Example
        import torch
        import torch.nn.functional as F
        from torch import nn

        model = nn.Linear(20, 10)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(64, 20)
        for epoch in range(10):
            optimizer.zero_grad()
            cosine = F.cosine_similarity(model(x), model(x.roll(1, 0)))
            loss = torch.acos(cosine).mean()
            loss.backward()
            optimizer.step()

    ## Use instead
        import torch
        import torch.nn.functional as F
        from torch import nn

        model = nn.Linear(20, 10)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(64, 20)
        for epoch in range(10):
            optimizer.zero_grad()
            cosine = F.cosine_similarity(model(x), model(x.roll(1, 0)))
            loss = torch.acos(cosine.clamp(-1 + 1e-6, 1 - 1e-6)).mean()
            loss.backward()
            optimizer.step()

    ## When it is fine
    A clamp strictly inside (-1, 1); angles under `no_grad`.

    ## Measured
    `convlint probe` looks for NaN and infinities; they come late, so silence refutes nothing.

    ## References
    - ArcFace implementations: clamp the cosine before acos
    """

    code, slug, severity = "NUM011", "acos-unclamped", Severity.WARNING
    fix = Applicability.UNSAFE
    confidence = Confidence.MEDIUM
    confirmed_by = ("non-finite",)
    silence_refutes = False

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per inverse of a cosine on the gradient's way."""
        graph = FlowGraph(program)
        gradients = Gradients(program, graph)
        places: set[Location] = set()
        for flow in program.flows:
            if flow.op not in INVERSES or not flow.inputs or not gradients.passes(flow):
                continue
            origins = graph.origins(flow.inputs[0], SHAPE_OPS)
            if not origins or not all(_is_cosine(graph, origin) for origin in origins):
                continue
            if flow.location is not None and one_per_place(places, flow.location):
                yield self.finding(
                    flow.location,
                    f"{flow.op} of a cosine is NaN when rounding takes it past 1, and its gradient is "
                    "infinite at 1",
                    help="clamp(-1 + 1e-6, 1 - 1e-6) first",
                    fix=self.repair(
                        "clamp the cosine",
                        edits.call_method(
                            program,
                            edits.operand_of(program, flow.location),
                            ".clamp(-1 + 1e-6, 1 - 1e-6)",
                        ),
                    ),
                )


def _is_cosine(graph: FlowGraph, flow: Flow) -> bool:
    """Whether a tensor is a cosine: by name, or a product of normalised tensors."""
    if flow.op == "cosine_similarity":
        return True
    factors = list(flow.inputs) if flow.op in PRODUCTS else []
    if flow.op == "sum" and flow.inputs:
        product = graph.get(flow.inputs[0])
        factors = list(product.inputs) if product is not None and product.op == "mul" else []
    return len(factors) == 2 and all(
        graph.agreed_origin(number, frozenset({"normalize"}), SHAPE_OPS) for number in factors
    )
