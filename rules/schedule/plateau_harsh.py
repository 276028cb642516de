"""SCH012: a plateau scheduler that stops training at the first bad epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Confidence, Finding, Severity
from convlint.program.facts import ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns.courses import scheduler_class
from convlint.rules.patterns.flows import one_per_place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram

HARSH_FACTOR = 0.05
"""Two such cuts leave a four-hundredth."""
GENTLE_FACTOR = 0.5
"""Without patience, at most a halving per bad epoch."""


class PlateauHarsh(Rule):
    """ReduceLROnPlateau cuts the rate so hard, or so soon, that one bad epoch ends training.

    ## What it does
    Reports a `factor` below 0.05, and a `patience` of 0 without a `min_lr`.

    ## Why it hurts
    Validation losses fluctuate. Without patience every second epoch divides the rate by ten; with
    a factor of a hundredth one false alarm is enough. Nothing brings the rate back.

    ## Example
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
        x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
        for epoch in range(20):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            scheduler.step(loss.item())

    ## Use instead
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=5)
        x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
        for epoch in range(20):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            scheduler.step(loss.item())

    ## When it is fine
    A floor given as `min_lr`, a factor above 0.5 without patience.

    ## Measured
    Not measured directly; the loss series of the probe shows the consequence.

    ## References
    - PyTorch, `torch.optim.lr_scheduler.ReduceLROnPlateau`
    """

    code, slug, severity = "SCH012", "plateau-harsh", Severity.WARNING
    confidence = Confidence.MEDIUM
    unmeasured_because = "the probe ends before a plateau could show"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report cuts that one bad epoch triggers."""
        places: set[Location] = set()
        for scheduler in program.objects:
            if scheduler.kind is not ObjectKind.SCHEDULER:
                continue
            if scheduler_class(scheduler) != "ReduceLROnPlateau":
                continue
            factor, patience, floor = (
                value.number if (value := scheduler.args.get(name)) is not None else None
                for name in ("factor", "patience", "min_lr")
            )
            if factor is None or floor is None or floor > 0:
                continue
            impatient = patience == 0 and factor < GENTLE_FACTOR
            if not impatient and not 0 < factor < HARSH_FACTOR:
                continue
            if one_per_place(places, scheduler.location):
                when = "the first epoch without improvement" if impatient else "a plateau"
                yield self.finding(
                    scheduler.location,
                    f"{when} multiplies the learning rate by {factor:g}, for good",
                    help="factor=0.1 to 0.5 with a patience of 5 to 10",
                )
