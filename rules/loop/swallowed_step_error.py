"""LOP031: errors of a training step are swallowed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.program.facts import EventKind
from convlint.rules import Rule
from convlint.rules.patterns.training_loops import STEPS, training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.program.facts import TrainingProgram


class SwallowedStepError(Rule):
    """Every error of a training step is caught and ignored.

    ## What it does
    Reports a backward or step inside a `try` whose handler for every error (`except:`, `except
    Exception:`) holds nothing but `pass` or `continue`.

    ## Why it hurts
    A shape error, an exhausted memory or a failed assertion then looks like a batch that was
    trained. When it happens in every iteration the run ends without a single step and without a
    word.

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
                try:
                    optimizer.zero_grad()
                    loss = criterion(model(x), y)
                    loss.backward()
                    optimizer.step()
                except Exception:
                    continue

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
    Handlers for one kind of error (out of memory), and handlers that log, count or raise: none
    is reported.

    ## Measured
    Not measured: the fault is in the text, whatever a short run shows.

    ## References
    - flake8-bugbear, S110 and S112 of Bandit, on swallowed exceptions
    """

    code = "LOP031"
    slug = "swallowed-step-error"
    severity = Severity.WARNING

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report the first backward or step under such a handler."""
        for loop in training_loops(program):
            hit = next(
                (
                    o
                    for o in loop.of_kind(EventKind.BACKWARD, *STEPS)
                    if "swallowed" in o.event.context
                ),
                None,
            )
            if hit is not None:
                yield self.finding(
                    hit.event.location,
                    "every error here is caught and ignored, so failed steps look like steps",
                    help="catch the one error you expect, and log it",
                )
