"""LOP020: a break left from debugging ends the epoch after one batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Location, Severity
from convlint.program.facts import Branch
from convlint.rules import Rule
from convlint.rules.patterns.training_loops import training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import Loop, TrainingProgram


class DebugBreak(Rule):
    """A `break` ends every epoch after its first batch.

    ## What it does
    Reports a `for` loop over batches that trains and ends in an unconditional `break`, or
    breaks under `if i == 0`.

    ## Why it hurts
    Only the first batch of each epoch is used. With shuffling the run still seems to train, on
    a fraction of the steps that the schedule and the epoch count assume.

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
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
                break

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
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()

    ## When it is fine
    A limit on steps (`if step >= max_steps: break`), early stopping, `while True` loops that
    end when something succeeds: none is reported.

    ## Measured
    Not measured: the fault is in the text, whatever a short run shows.

    ## References
    - Karpathy, "A Recipe for Training Neural Networks", 2019
    """

    code = "LOP020"
    slug = "debug-break"
    severity = Severity.WARNING

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report training loops that cannot reach their second batch."""
        for loop in training_loops(program):
            if loop.loop.kind != "for" or loop.loop.over.object is None or not loop.around:
                continue
            place = _certain_break(loop.loop)
            if place is not None:
                yield self.finding(
                    place,
                    "this loop over batches always breaks in its first iteration, so each epoch "
                    "trains on one batch",
                    help="remove the `break`",
                )


def _certain_break(loop: Loop) -> Location | None:
    """The loop's head, or the test for the first iteration, when that is where it ends."""
    head = loop.location
    if loop.ends == "break":
        return Location(head.path, head.line, head.column, head.line, head.column + 3)
    for node in loop.body:
        if isinstance(node, Branch) and node.first_iteration and node.arms[0].ends == "break":
            place = node.location
            return Location(place.path, place.line, place.column, place.line, place.column + 2)
    return None
