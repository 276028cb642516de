"""LOP038: an inner loop overwrites the loss instead of adding to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Finding, Related, Severity
from convlint.program.facts import EventKind
from convlint.rules import Rule
from convlint.rules.patterns import edits, statement_edits
from convlint.rules.patterns.paths import occurrences
from convlint.rules.patterns.training_loops import breaks, loops_in, training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import Loop, TrainingProgram
    from convlint.rules import Changes


class LossOverwrittenInLoop(Rule):
    """An inner loop overwrites the loss, so only its last value is back-propagated.

    ## What it does
    Reports a loss computed by assignment in an inner loop and back-propagated once after that
    loop.

    ## Why it hurts
    All but the last term are computed and thrown away: a sequence model learns from its last
    character alone, a multi-crop loss from the last crop.

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
                for t in range(4):
                    loss = criterion(model(x + t), y)
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
                loss = 0
                for t in range(4):
                    loss += criterion(model(x + t), y)
                loss.backward()
                optimizer.step()

    ## When it is fine
    A loss that is added up, collected in a list, back-propagated inside the inner loop, or
    searched for in a loop that breaks: none is reported.

    ## Measured
    Not measured: the fault is in the text, whatever a short run shows.

    ## References
    - PyTorch tutorial, "NLP From Scratch: Generating Names with a Character-Level RNN"
    """

    code = "LOP038"
    slug = "loss-overwritten-in-loop"
    severity = Severity.ERROR
    fix = Applicability.UNSAFE

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report losses that only the last iteration of a finished loop decides."""
        made = {loss.flow: loss for loss in program.losses if loss.flow is not None}
        for loop in training_loops(program):
            inner = {found.id: found for found in loops_in(loop.loop.body)}
            for backward in loop.of_kind(EventKind.BACKWARD):
                loss = made.get(backward.event.flow) if backward.event.flow is not None else None
                if loss is None or not loss.loops or loss.loops[-1] in backward.loops:
                    continue
                finished = inner.get(loss.loops[-1])
                if (
                    finished is None
                    or finished.kind != "for"
                    or finished.trips.number == 1
                    or breaks(finished.body)
                    or any(o.kind is EventKind.BACKWARD for o in occurrences(finished.body))
                ):
                    continue
                yield self.finding(
                    loss.location,
                    "each iteration overwrites this loss and only the last value is back-propagated",
                    help="add the losses up inside the loop (`loss += ...`, starting from 0)",
                    related=(Related(backward.event.location, "back-propagated once, here"),),
                    fix=self.repair(
                        "add the losses up, from 0", _added_up(program, loss.location, finished)
                    ),
                )


def _added_up(program: TrainingProgram, place: Location, loop: Loop) -> Changes:
    """``loss = ...`` to ``loss += ...`` with ``loss = 0`` before the loop."""
    statement = statement_edits.own_statement(program, place)
    head = statement_edits.compound_at(program, loop.location)
    layout = program.layout(place)
    if statement is None or head is None or layout is None or statement.kind != "Assign":
        return None
    if len(statement.targets) != 1 or not statement.targets[0].isidentifier():
        return None
    if head not in statement.around() or statement.function != head.function:
        return None
    name = statement.targets[0]
    if any(name in other.reads for other in layout.statements_in(head.place) if not other.compound):
        return None
    started = statement_edits.insert_before(head, f"{name} = 0")
    between = edits.between(statement.place, place)
    if started is None or layout.text(between).strip() != f"{name} =":
        return None
    return (*started, *(edits.replace(between, f"{name} += ") or ()))
