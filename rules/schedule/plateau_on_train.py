"""SCH011: a plateau of the training loss."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from convlint.findings import Confidence, Finding, Severity
from convlint.lazy_regex import lazy_regex
from convlint.program.facts import EventKind, ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns.courses import scheduler_class
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.paths import occurrences
from convlint.rules.patterns.schedules import step_sites

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram

_TRAINING = lazy_regex(r"(^|[^a-z])(train|training|tr)([^a-z]|$)", re.IGNORECASE)


class PlateauOnTrain(Rule):
    """ReduceLROnPlateau watches the training loss although there is a validation pass.

    ## What it does
    Reports `ReduceLROnPlateau` stepped with something named after training, in a loop that also
    runs the model without gradient.

    ## Why it hurts
    The training loss falls long after the validation loss has stopped: the rate is reduced too
    late, or never.

    ## Example
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
        x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
        for epoch in range(20):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            train_loss = loss.item()
            with torch.no_grad():
                val_loss = criterion(model(x), y).item()
            scheduler.step(train_loss)

    ## Use instead
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
        x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
        for epoch in range(20):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            train_loss = loss.item()
            with torch.no_grad():
                val_loss = criterion(model(x), y).item()
            scheduler.step(val_loss)

    ## When it is fine
    Runs without validation; the rule is opt-in.

    ## Measured
    Not measured.

    ## References
    - PyTorch, `torch.optim.lr_scheduler.ReduceLROnPlateau`
    """

    code, slug, severity = "SCH011", "plateau-on-train", Severity.INFO
    confidence = Confidence.MEDIUM
    default = False

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report plateaus of the training loss beside a validation pass."""
        places: set[Location] = set()
        for scheduler in program.objects:
            if scheduler.kind is not ObjectKind.SCHEDULER:
                continue
            if scheduler_class(scheduler) != "ReduceLROnPlateau":
                continue
            for event, loops, _ in step_sites(program, scheduler):
                text = event.args["text"].constant if "text" in event.args else None
                if not isinstance(text, str) or not _TRAINING.search(text) or not loops:
                    continue
                validates = any(
                    o.kind is EventKind.FORWARD and "no_grad" in o.event.context
                    for o in occurrences(loops[-1].body)
                )
                if validates and one_per_place(places, event.location):
                    yield self.finding(
                        event.location,
                        f"the scheduler waits for a plateau of `{text}`, not of the validation loss",
                        help="step it with the validation loss",
                    )
