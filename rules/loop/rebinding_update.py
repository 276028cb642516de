"""LOP021: a weight is updated by hand while the update itself is recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns.flows import FlowGraph, one_per_place
from convlint.rules.patterns.training_loops import all_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import Flow, TrainingProgram

UPDATES = frozenset({"sub", "add"})
"""``w - lr * w.grad``, and ``w + step`` with the sign in the step."""
DETACHES = frozenset({"detach", "detach_", "data", "requires_grad_", "variable", "tensor"})
"""What makes the new tensor a leaf that collects gradients again."""


class RebindingUpdate(Rule):
    """A weight is updated by hand while autograd records the update.

    ## What it does
    Reports `w = w - lr * w.grad` and `w -= lr * w.grad` in a training loop, on a tensor that
    requires gradients, outside of `torch.no_grad()`.

    ## Why it hurts
    Assigned anew, `w` is no leaf any more: backward leaves its `.grad` empty, and the graph of all
    steps before stays in memory. In place, PyTorch refuses to change a leaf that requires
    gradients.

    ## Example
        import torch

        x, y = torch.randn(64, 3), torch.randn(64)
        w = torch.zeros(3, requires_grad=True)
        for step in range(100):
            loss = ((x @ w - y) ** 2).mean()
            loss.backward()
            w = w - 0.1 * w.grad

    ## Use instead
        import torch

        x, y = torch.randn(64, 3), torch.randn(64)
        w = torch.zeros(3, requires_grad=True)
        for step in range(100):
            loss = ((x @ w - y) ** 2).mean()
            loss.backward()
            with torch.no_grad():
                w -= 0.1 * w.grad
            w.grad = None

    ## When it is fine
    Under `no_grad`, through `.data`, when the result is detached and made a leaf again, with
    gradients asked for by `torch.func.grad` or `torch.autograd.grad` (which leave `.grad` alone),
    and with NumPy arrays: none is reported.

    ## Measured
    Not measured: such a script stops in its second step.

    ## References
    - PyTorch tutorial, "Learning PyTorch with Examples" (manual updates under `no_grad`)
    - PyTorch documentation, `torch.Tensor.is_leaf`
    """

    code, slug, severity = "LOP021", "rebinding-update", Severity.ERROR
    unmeasured_because = "such a script stops in its second step, with an error"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report the update whose result a loop carries on in place of the leaf it came from."""
        graph: FlowGraph | None = None
        places: set[Location] = set()
        for _, nest in all_loops(program):
            for carried in nest[-1].carried:
                for number in carried.after:
                    graph = graph or FlowGraph(program)
                    update = graph.get(number)
                    if update is None or update.op not in UPDATES or update.detached:
                        continue
                    leaf = _updated_leaf(graph, update)
                    if leaf is None or leaf.id not in carried.before or update.location is None:
                        continue
                    if any(user.op in DETACHES for user in graph.users(update)):
                        continue
                    if one_per_place(places, update.location):
                        name = carried.name
                        yield self.finding(
                            update.location,
                            f"this update of `{name}` is recorded by autograd: assigned anew, `{name}` "
                            "is no leaf and gets no gradient in the next step; in place, PyTorch "
                            "refuses it",
                            help=f"write `with torch.no_grad(): {name} -= ...`, and clear "
                            f"`{name}.grad` after it",
                        )


def _updated_leaf(graph: FlowGraph, update: Flow) -> Flow | None:
    """The leaf an update starts from, when the rest of it comes from that leaf's ``.grad``."""
    leaf = graph.get(update.inputs[0]) if update.inputs else None
    if leaf is None or not _collects_gradients(graph, leaf):
        return None
    for step in update.inputs[1:]:
        for behind in graph.ancestors(step):
            if behind.op == "grad" and leaf.id in behind.inputs:
                return leaf
    return None


def _collects_gradients(graph: FlowGraph, flow: Flow) -> bool:
    if flow.op == "<parameter>":
        return True
    asked = flow.args.get("requires_grad")
    if flow.op == "<constant>" and asked is not None and asked.constant is True:
        return True
    return any(user.op == "requires_grad_" and not user.args for user in graph.users(flow)) or (
        flow.op == "requires_grad_" and not flow.args
    )
