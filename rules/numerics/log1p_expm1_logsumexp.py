"""NUM002: a sum written out that has an accurate function."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.flows import FlowGraph, one_per_place
from convlint.rules.patterns.logarithms import is_log
from convlint.rules.patterns.offsets import constant_operand

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Finding, Location
    from convlint.program.facts import Flow, TrainingProgram
    from convlint.rules import Changes


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
    fix = Applicability.SAFE

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
                    fix=self.repair(f"use {function}", _accurately(program, flow, function)),
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


def _accurately(program: TrainingProgram, flow: Flow, function: str) -> Changes:
    place = flow.location
    layout = program.layout(place)
    home = "torch.nn.functional.softplus" if function == "softplus" else function
    name = edits.name_for(program, place, home)
    if layout is None or name is None or place is None:
        return None
    inner = _argument_of(program, place, function)
    return (
        None if inner is None else ((edits.replace(place, f"{name[0]}({inner})")) or ()) + name[1]
    )


def _argument_of(program: TrainingProgram, place: Location, function: str) -> str | None:
    """What the accurate function is to be given, where the form is written in one piece."""
    layout = program.layout(place)
    if layout is None:
        return None
    if function == "torch.expm1":
        sides = layout.binary(place)
        return None if sides is None else _operand(program, sides[0], "exp")
    operand = edits.operand_of(program, place)
    if operand is None:
        return None
    if function == "torch.logsumexp":
        return _summed(program, operand)
    sides = layout.binary(operand)
    if sides is None or sides[1] != "Add":
        return None
    ones = [side for side in (sides[0], sides[2]) if layout.text(side) in ("1", "1.0")]
    if len(ones) != 1:
        return None
    other = sides[2] if ones[0] == sides[0] else sides[0]
    return _operand(program, other, "exp") if function == "softplus" else layout.text(other)


def _operand(program: TrainingProgram, place: Location, method: str) -> str | None:
    call, layout = edits.call_at(program, place), program.layout(place)
    inner = edits.operand_of(program, place)
    if call is None or layout is None or inner is None or call.method != method:
        return None
    return layout.text(inner)


def _summed(program: TrainingProgram, place: Location) -> str | None:
    """The arguments of ``sum(exp(x), dim)`` with ``x`` in the place of its exponential."""
    call, inner = edits.call_at(program, place), edits.operand_of(program, place)
    exponent = None if inner is None else _operand(program, inner, "exp")
    if call is None or exponent is None or call.method != "sum":
        return None
    rest = [a for a in call.arguments if a.value != inner]
    given = [a.text if a.name is None else f"{a.name}={a.text}" for a in rest]
    return ", ".join((exponent, *given)) if given else None
