"""LOS011: a prediction rounded to a decision before the loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Evidence, Severity
from convlint.rules import Rule
from convlint.rules.patterns.flows import SHAPE_OPS, FlowGraph, one_per_place
from convlint.rules.patterns.gradients import Gradients
from convlint.rules.patterns.losses import trained_losses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Finding, Location
    from convlint.program.facts import Flow, TrainingProgram

DECISIONS = frozenset(
    {"argmax", "argmin", "round", "sign", "floor", "ceil", "compare", "gt", "lt", "ge", "le", "eq",
     "int", "long", "bool", "one_hot"}
)  # fmt: skip
INDEXED = frozenset({"max", "min", "sort", "topk", "median", "kthvalue", "mode"})
"""Operations that return values and, second, their indices."""
PASSING = SHAPE_OPS - {"getitem"}


class NondifferentiableInLoss(Rule):
    """The loss is computed from decisions, which have no gradient.

    ## What it does
    Follows the first argument of a back-propagated loss back to the operation that made it and reports
    `argmax`, the indices of `max`, `round`, `sign`, a comparison, an integer cast or `one_hot`, when
    the model's output goes into it.

    ## Why it hurts
    These are constant almost everywhere: the gradient is zero or does not exist. PyTorch raises an
    error when nothing else is in the loss, and says nothing when something is.

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
            decision = model(x).argmax(dim=1).float()
            loss = F.mse_loss(decision, y.float()) + model.weight.pow(2).sum()
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
            loss = F.cross_entropy(model(x), y) + model.weight.pow(2).sum()
            loss.backward()
            optimizer.step()

    ## When it is fine
    Decisions as the *target*, straight-through estimators (`x + (y - x).detach()`), rewards of a policy.

    ## Measured
    `convlint probe` looks for parameters that receive no gradient, or zero; another term of the loss
    can give them one, so silence refutes nothing.

    ## References
    - PyTorch, `torch.argmax` and comparisons have no derivative
    """

    code, slug, severity = "LOS011", "nondifferentiable-in-loss", Severity.ERROR
    confirmed_by = ("parameter-without-gradient",)
    silence_refutes = False

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per trained loss whose input is a decision of the model."""
        graph = FlowGraph(program)
        gradients = Gradients(program, graph)
        places: set[Location] = set()
        for loss in trained_losses(program, None):
            if not gradients.is_trained(loss.flow) or gradients.carries(loss.target):
                continue
            decision = _decision(graph, loss.input)
            if decision is None or not _from_weights(graph, gradients, decision):
                continue
            if one_per_place(places, loss.location):
                what = "the indices of " + decision.op if decision.op in INDEXED else decision.op
                yield self.finding(
                    loss.location,
                    f"the input of {loss.name} is the result of {what}, which passes no gradient to the "
                    "model",
                    help="compute the loss from the model's raw output",
                    evidence=(Evidence("static", f"{what} stands between the model and the loss"),),
                )


def _decision(graph: FlowGraph, number: int | None) -> Flow | None:
    """The operation without gradient that every alternative of a tensor comes from."""
    found: list[Flow] = []
    for flow in graph.origins(number, PASSING):
        if flow.op == "getitem" and flow.inputs:
            index, source = flow.args.get("index"), graph.get(flow.inputs[0])
            second = index is not None and index.number == 1
            if not second or source is None or source.op not in INDEXED or not source.args:
                return None
            found.append(source)
        elif flow.op in DECISIONS:
            found.append(flow)
        else:
            return None
    return found[0] if found else None


def _from_weights(graph: FlowGraph, gradients: Gradients, decision: Flow) -> bool:
    """Whether the model's output went into a decision, itself or through others like it."""
    return any(
        gradients.carries(number)
        for flow in graph.ancestors(decision.id)
        if flow.op in DECISIONS | INDEXED | PASSING | {"getitem"}
        for number in flow.inputs
    )
