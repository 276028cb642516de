"""LOP015: a recurrent state passes to the next batch with its graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Finding, Related, Severity
from convlint.program.facts import EventKind
from convlint.rules import Rule
from convlint.rules.patterns import statement_edits
from convlint.rules.patterns.flows import FlowGraph, one_per_place
from convlint.rules.patterns.training_loops import training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import Carried, Flow, TrainingProgram
    from convlint.rules import Changes
    from convlint.rules.patterns.paths import Occurrence
    from convlint.rules.patterns.training_loops import TrainingLoop


class HiddenStateNotDetached(Rule):
    """A recurrent state passes from batch to batch together with its graph.

    ## What it does
    Reports a training loop in which a state computed by a trained layer enters the next
    iteration's loss without `detach()`, while every iteration back-propagates.

    ## Why it hurts
    The second backward goes back into the first batch's graph, which is freed: PyTorch raises
    an error. With `retain_graph=True` it does not, and time and memory grow with every step
    while gradients flow through all past batches.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 5, 8), torch.randn(256, 5, 2))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.GRU(8, 2, batch_first=True)
        criterion = nn.MSELoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        state = torch.zeros(1, 32, 2)
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                output, state = model(x, state)
                loss = criterion(output, y)
                loss.backward(retain_graph=True)
                optimizer.step()

    ## Use instead
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 5, 8), torch.randn(256, 5, 2))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.GRU(8, 2, batch_first=True)
        criterion = nn.MSELoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        state = torch.zeros(1, 32, 2)
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                output, state = model(x, state.detach())
                loss = criterion(output, y)
                loss.backward()
                optimizer.step()

    ## When it is fine
    A state that is detached, made anew for each batch, computed under `no_grad`, or detached
    every few steps: none is reported.

    ## Measured
    Measured indirectly: `growing-graph` sees steps that become slower and larger.

    ## References
    - PyTorch examples, word language model, `repackage_hidden`
    - Williams and Peng, "An efficient gradient-based algorithm for on-line training of recurrent network trajectories", 1990
    """

    code = "LOP015"
    slug = "hidden-state-not-detached"
    confirmed_by = ("growing-graph",)
    silence_refutes = False
    severity = Severity.ERROR
    fix = Applicability.UNSAFE

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report states whose graph reaches over the boundary between two backward passes."""
        graph: FlowGraph | None = None
        places: set[Location] = set()
        for loop in training_loops(program):
            if not loop.loop.carried:
                continue
            graph = graph or FlowGraph(program)
            for backward in loop.of_kind(EventKind.BACKWARD):
                if backward.conditional or backward.loops:
                    continue
                behind = graph.attached_ancestors(backward.event.flow)
                for carried in loop.loop.carried:
                    source = _state_with_graph(graph, carried)
                    if (
                        source is not None
                        and not behind.isdisjoint(carried.before)
                        and one_per_place(places, backward.event.location)
                    ):
                        yield self.finding(
                            backward.event.location,
                            f"`{carried.name}` comes from the previous iteration with its graph, so "
                            "this backward goes back into a graph that is already freed",
                            help=f"detach `{carried.name}` before the next iteration uses it",
                            related=(Related(source, f"`{carried.name}` is computed here"),),
                            fix=self.repair(
                                f"detach `{carried.name}` after the backward",
                                _detached(program, loop, backward, carried),
                            ),
                        )


def _state_with_graph(graph: FlowGraph, carried: Carried) -> Location | None:
    """Where a layer computes the state that is handed on, when no part of it is ever detached."""
    for number in carried.after:
        if any(flow.detached for flow in graph.ancestors(number) if _follows(graph, flow, carried)):
            return None
    for number in carried.after:
        flows = [flow for n in graph.attached_ancestors(number) if (flow := graph.get(n))]
        layer = next((flow for flow in flows if flow.layer is not None), None)
        if layer is not None and layer.location is not None:
            return layer.location
    return None


def _follows(graph: FlowGraph, flow: Flow, carried: Carried) -> bool:
    """Whether a flow is computed from the state (or from what becomes the next one)."""
    members = {f.id for f in graph.ancestors(flow.id)}
    return not members.isdisjoint((*carried.before, *carried.after)) or any(
        f is not None and f.layer is not None for f in map(graph.get, members)
    )


def _detached(
    program: TrainingProgram, loop: TrainingLoop, backward: Occurrence, carried: Carried
) -> Changes:
    place = backward.event.location
    if not statement_edits.same_function(program, place, loop.loop.location):
        return None
    name = carried.name
    value = f"{name}.detach()"
    if len(carried.after) > 1:
        value = f"tuple(state.detach() for state in {name})"
    return statement_edits.insert_after(
        program, statement_edits.lone_call(program, place), f"{name} = {value}"
    )
