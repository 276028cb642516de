"""NUM002: a sum written out that has an accurate function."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Severity
from convlint.rules import Rule
from convlint.rules.patterns.flows import FlowGraph, one_per_place
from convlint.rules.patterns.logarithms import is_log
from convlint.rules.patterns.offsets import constant_operand

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Finding, Location
    from convlint.program.facts import Flow, TrainingProgram


class Log1pExpm1Logsumexp(Rule):
    """`log(1 + x)`, `exp(x) - 1` or `log(sum(exp(x)))` is written out.

    ## What it does
    Reports these three forms on tensors; the last only when the sum is over given dimensions.

    ## Why it hurts
    1 + x loses the digits of a small x, exp(x) - 1 cancels them, and exp overflows float32 above 88.
    `log1p`, `expm1` and `logsumexp` are accurate throughout.

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
            loss = torch.log(1 + model(x).pow(2)).mean()
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
            loss = torch.log1p(model(x).pow(2)).mean()
            loss.backward()
            optimizer.step()

    ## When it is fine
    Values far from zero, where nothing is lost.

    ## Measured
    Nothing is measured for it.

    ## References
    - PyTorch, `torch.log1p`, `torch.expm1`, `torch.logsumexp`
    - TorchFix TOR106 to TOR108
    """

    code, slug, severity = "NUM002", "log1p-expm1-logsumexp", Severity.INFO

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per form that a function of torch computes accurately."""
        graph = FlowGraph(program)
        places: set[Location] = set()
        for flow in program.flows:
            better = _better(graph, flow)
            if better and flow.location is not None and one_per_place(places, flow.location):
                form, function = better
                yield self.finding(
                    flow.location,
                    f"{form} loses digits, or overflows, where {function} does not",
                    help=f"use {function}",
                )


def _better(graph: FlowGraph, flow: Flow) -> tuple[str, str] | None:
    """The form ``flow`` is written in and the function for it, or None."""
    inner = graph.get(flow.inputs[0]) if flow.inputs else None
    if inner is None:
        return None
    exponential = inner.op == "exp" and inner.name.startswith("torch.")
    if flow.op == "sub" and constant_operand(flow, "right") == 1 and exponential:
        return "exp(x) - 1", "torch.expm1"
    if not is_log(flow):
        return None
    added = [constant_operand(inner, side) for side in ("left", "right")]
    if inner.op == "add" and len(inner.inputs) == 1 and 1 in added:
        if any(f is not None and f.op == "exp" for f in map(graph.get, inner.inputs)):
            return "log(1 + exp(x))", "softplus"
        return "log(1 + x)", "torch.log1p"
    if inner.op == "sum" and inner.inputs and inner.args:
        summed = graph.get(inner.inputs[0])
        if summed is not None and summed.op == "exp":
            return "log(sum(exp(x)))", "torch.logsumexp"
    return None
