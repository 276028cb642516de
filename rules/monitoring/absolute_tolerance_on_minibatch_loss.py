"""MON006: training stops when two mini-batch losses happen to be close."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Confidence, Finding, Severity
from convlint.program.facts import ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.ownership import object_of
from convlint.rules.patterns.scores import lower_is_better, test_of
from convlint.rules.patterns.training_loops import training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram


class AbsoluteToleranceOnMinibatchLoss(Rule):
    """Training stops when two mini-batch losses happen to be close.

    ## What it does
    Reports `abs(previous - loss) < tolerance` on the losses of single mini-batches as a reason
    to stop.

    ## Why it hurts
    Losses of two batches differ by chance and also agree by chance: sooner or later the
    difference falls below any tolerance, wherever training is. And what is small depends on the
    scale of the loss.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        previous = float("inf")
        for epoch in range(100):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
                if abs(previous - loss.item()) < 1e-4:
                    break
                previous = loss.item()

    ## Use instead
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        previous = float("inf")
        mean = 0.0
        for epoch in range(100):
            mean = 0.0
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
                mean += loss.item() / len(loader)
            if abs(previous - mean) < 1e-4 * abs(previous):
                break
            previous = mean

    ## When it is fine
    Means over an epoch, full-batch training, tolerances relative to the loss: none is reported.

    ## Measured
    Not measured: the probe stops before the comparison matters.

    ## References
    - Nocedal and Wright, "Numerical Optimization", 2nd ed., section 3, on stopping tests
    """

    code = "MON006"
    slug = "absolute-tolerance-on-minibatch-loss"
    severity = Severity.WARNING
    confidence = Confidence.MEDIUM

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report constant tolerances between losses inside the loop over batches."""
        batches = {
            found.loop.id
            for found in training_loops(program)
            if (loader := object_of(program, found.loop.over.object)) is not None
            and loader.kind is ObjectKind.LOADER
        }
        places: set[Location] = set()
        for tolerance in program.tolerances:
            if not tolerance.stops or tolerance.limit.number is None:
                continue
            if not tolerance.loops or tolerance.loops[-1] not in batches:
                continue
            if not any(map(lower_is_better, tolerance.compared)):
                continue
            if one_per_place(places, tolerance.location):
                yield self.finding(
                    test_of(tolerance.location),
                    "two losses of single mini-batches decide when to stop, and they agree by chance",
                    help="compare means over epochs, relative to their size",
                )
