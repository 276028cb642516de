"""SCH016: a scheduler and the script both set the learning rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Confidence, Finding, Related, Severity
from convlint.program.facts import EventKind, ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.ownership import object_of, scheduled_optimizer
from convlint.rules.patterns.paths import occurrences
from convlint.rules.patterns.training_loops import all_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram


class DoubleLrControl(Rule):
    """A scheduler and the script itself set the same learning rate in the same loop.

    ## What it does
    Reports a loop in which a scheduler is stepped and the script writes the rate into the
    `param_groups` of the same optimizer, both without condition.

    ## Why it hurts
    Schedulers of PyTorch compute the next rate from the present one. A value written in between is
    multiplied as if it were theirs, and is overwritten or compounds.

    ## Example
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
        x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
        for epoch in range(20):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            for group in optimizer.param_groups:
                group["lr"] = 0.01 * 0.9**epoch
            scheduler.step()

    ## Use instead
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
        x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
        for epoch in range(20):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            scheduler.step()

    ## When it is fine
    A warm-up by hand under a condition.

    ## Measured
    Not measured directly; the loss series of the probe shows the consequence.

    ## References
    - PyTorch, `torch.optim.lr_scheduler.LRScheduler`
    """

    code, slug, severity = "SCH016", "double-lr-control", Severity.WARNING
    confidence = Confidence.MEDIUM
    unmeasured_because = "the probe sees the rate, not who set it"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report rates set by two hands."""
        places: set[Location] = set()
        for _, nest in all_loops(program):
            if len(nest) > 1:
                continue
            plain = [o.event for o in occurrences(nest[0].body) if not o.conditional]
            scheduled = {
                scheduled_optimizer(program, event.target): event
                for event in plain
                if event.kind is EventKind.SCHEDULER_STEP
            }
            for event in plain:
                if event.kind is not EventKind.LR_WRITE or event.target is None:
                    continue
                other = scheduled.get(event.target)
                owner = object_of(program, event.target)
                if other is None or owner is None or owner.kind is not ObjectKind.OPTIMIZER:
                    continue
                if one_per_place(places, event.location):
                    yield self.finding(
                        event.location,
                        "the learning rate is written here and set by a scheduler in the same loop",
                        help="leave it to one of the two",
                        related=(Related(other.location, "the scheduler is stepped here"),),
                    )
