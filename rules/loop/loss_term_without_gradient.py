"""LOP039: a term of the loss has no gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Related, Severity
from convlint.program.facts import EventKind
from convlint.rules import Rule
from convlint.rules.patterns.flows import PLACEMENT_OPS, FlowGraph, one_per_place
from convlint.rules.patterns.training_loops import training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import Flow, TrainingProgram


class LossTermWithoutGradient(Rule):
    """A term of the back-propagated loss has no gradient.

    ## What it does
    Reports a loss that is added to the one that is back-propagated and was computed under
    `no_grad`, or detached.

    ## Why it hurts
    The term changes the number that is printed and nothing else: what it was meant to teach is
    not learnt.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                logits = model(x)
                with torch.no_grad():
                    penalty = nn.functional.mse_loss(logits, torch.zeros_like(logits))
                loss = criterion(logits, y) + 0.1 * penalty
                loss.backward()
                optimizer.step()

    ## Use instead
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                logits = model(x)
                penalty = nn.functional.mse_loss(logits, torch.zeros_like(logits))
                loss = criterion(logits, y) + 0.1 * penalty
                loss.backward()
                optimizer.step()

    ## When it is fine
    Sums that are only logged, weights and normalisers without gradient, targets under
    `no_grad`: none is reported.

    ## Measured
    Not measured on its own: parameters that only this term could train show as `parameter-
    without-gradient`.

    ## References
    - PyTorch documentation, `torch.no_grad`
    """

    code = "LOP039"
    slug = "loss-term-without-gradient"
    severity = Severity.WARNING

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report detached losses among the summands of a back-propagated one."""
        graph: FlowGraph | None = None
        places: set[Location] = set()
        made = {loss.flow: loss.location for loss in program.losses if loss.flow is not None}
        for loop in training_loops(program):
            for backward in loop.of_kind(EventKind.BACKWARD):
                graph = graph or FlowGraph(program)
                terms = _summands(graph, backward.event.flow)
                if all(term.detached for term in terms):
                    continue
                for term in terms:
                    place = _loss_behind(graph, term, made) if term.detached else None
                    if place is not None and one_per_place(places, place):
                        yield self.finding(
                            place,
                            "this loss has no gradient, so adding it to the one that is "
                            "back-propagated teaches nothing",
                            help="compute it outside of `no_grad`, without `detach()`",
                            related=(Related(backward.event.location, "back-propagated here"),),
                        )


_SUMS = frozenset({"add", "sub", "scaled", "neg", "mul"})


def _summands(graph: FlowGraph, number: int | None) -> list[Flow]:
    """The terms of a sum; factors are looked through when all others are constants."""
    terms: list[Flow] = []
    seen: set[int] = set()
    pending = [number]
    while pending:
        flow = graph.get(pending.pop())
        if flow is None or flow.id in seen:
            continue
        seen.add(flow.id)
        if flow.op in _SUMS and not flow.detached and (flow.op != "mul" or len(flow.inputs) == 1):
            pending.extend(flow.inputs)
        else:
            terms.append(flow)
    return terms


def _loss_behind(graph: FlowGraph, term: Flow, made: dict[int, Location]) -> Location | None:
    """Where the loss is computed that a term is, seen through ``detach`` and factors."""
    found = graph.origins(term.id, PLACEMENT_OPS | {"mul"})
    return made.get(found[0].id) if len(found) == 1 else None
