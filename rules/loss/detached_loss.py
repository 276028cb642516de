"""LOS010: a loss cut from the graph that made it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Severity
from convlint.program.facts import EventKind
from convlint.rules import Rule
from convlint.rules.patterns import edits, statement_edits
from convlint.rules.patterns.flows import FlowGraph, one_per_place
from convlint.rules.patterns.gradients import Gradients, events_of_kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Finding, Location
    from convlint.program.facts import Flow, TrainingProgram
    from convlint.rules import Changes

CUTS = frozenset({"variable", "detach", "data"})
SCALING = frozenset({"to", "float", "mean", "sum", "div", "mul", "scaled"})
"""What happens to a loss between the cut and `backward`."""


class DetachedLoss(Rule):
    """The loss that is back-propagated has been cut from the model.

    ## What it does
    Reports `backward()` on `torch.tensor(loss, requires_grad=True)`, `Variable(loss)`,
    `loss.detach()` or `loss.data`, and `requires_grad` set on a loss.

    ## Why it hurts
    A new tensor has no history: `backward()` fills the gradient of that tensor and of nothing else. No
    weight ever changes, and no error says so once `requires_grad` is set.

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
            loss = torch.tensor(F.cross_entropy(model(x), y), requires_grad=True)
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
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()

    ## When it is fine
    Leaf tensors that are themselves optimised; `detach` for logging; `requires_grad` on an input.

    ## Measured
    `convlint probe` looks for parameters that receive no gradient, or zero; another term of the loss
    can give them one, so silence refutes nothing.

    ## References
    - PyTorch, autograd mechanics: leaf tensors
    """

    code, slug, severity = "LOS010", "detached-loss", Severity.ERROR
    fix = Applicability.UNSAFE
    confirmed_by = ("parameter-without-gradient",)
    silence_refutes = False

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per back-propagated loss without a graph."""
        graph = FlowGraph(program)
        gradients = Gradients(program, graph)
        marked = _marked(program)
        losses = {loss.flow for loss in program.losses}
        places: set[Location] = set()
        for event in events_of_kind(program, EventKind.BACKWARD):
            origins = graph.origins(event.flow, SCALING)
            cut = origins[0] if len(origins) == 1 else None
            if cut is not None and _is_cut(gradients, cut):
                where = cut.location or event.location
                if one_per_place(places, where):
                    yield self.finding(
                        where,
                        "the loss that is back-propagated is a new tensor without a graph, so no weight "
                        "receives a gradient",
                        help="back-propagate the loss itself",
                        fix=self.repair("use the loss itself", _uncut(program, where)),
                    )
            elif event.flow in marked and event.flow in losses:
                harmless = gradients.carries(event.flow)
                if one_per_place(places, marked[event.flow]):
                    yield self.finding(
                        marked[event.flow],
                        "requires_grad is set on a loss: it does nothing to a loss that depends on the "
                        "weights, and hides that the graph is cut from one that does not",
                        help="remove it, and look for what cuts the graph",
                        severity=Severity.WARNING if harmless else None,
                        fix=self.repair(
                            "remove it",
                            statement_edits.remove_statement(
                                program, statement_edits.lone_call(program, marked[event.flow])
                            ),
                        ),
                    )


def _marked(program: TrainingProgram) -> dict[int, Location]:
    """Where `requires_grad` is set on a tensor, by number of the tensor."""
    found: dict[int, Location] = {}
    for call in program.calls:
        given, value = call.args.get("input"), call.args.get("requires_grad")
        if call.name != "torch.Tensor.requires_grad_" or given is None or value is None:
            continue
        if given.flow is not None and value.constant is True:
            found.setdefault(given.flow, call.location)
    return found


def _is_cut(gradients: Gradients, flow: Flow) -> bool:
    """Whether ``flow`` starts a graph of its own where the model's should go on."""
    if flow.name == "torch.tensor":
        requires = flow.args.get("requires_grad")
        return requires is not None and requires.constant is True
    return flow.op in CUTS and any(gradients.carries(number) for number in flow.inputs)


def _uncut(program: TrainingProgram, place: Location) -> Changes:
    """``torch.tensor(loss, requires_grad=True)`` and ``loss.detach()`` to ``loss``."""
    call = edits.call_at(program, place)
    layout = program.layout(place)
    if call is None or layout is None:
        return None
    if call.method == "detach" and not call.arguments and call.receiver is not None:
        return edits.replace(place, call.receiver_text)
    given = call.argument("data", 0)
    if given is None or call.callee_text.rpartition(".")[2] not in ("tensor", "Variable"):
        return None
    inner = layout.call(given.value)
    if inner is not None and inner.method in ("item", "numpy", "tolist"):
        return None
    return edits.replace(place, given.text) if layout.is_atom(given.value) else None
