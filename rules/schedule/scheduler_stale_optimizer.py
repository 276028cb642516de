"""SCH015: a scheduler of an optimizer that was replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Finding, Related, Severity
from convlint.program.facts import ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns import statement_edits
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.ownership import object_of, scheduled_optimizer
from convlint.rules.patterns.schedules import step_sites
from convlint.rules.patterns.training_loops import training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram


class SchedulerStaleOptimizer(Rule):
    """The scheduler changes the rate of an optimizer that was replaced after it was built.

    ## What it does
    Reports a scheduler whose optimizer is never stepped, when a later optimizer of the same name
    is.

    ## Why it hurts
    The rate of the optimizer that trains stays constant; the schedule is applied to one nothing
    uses.

    ## Example
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=5)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
        for epoch in range(20):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            scheduler.step()

    ## Use instead
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=5)
        x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
        for epoch in range(20):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            scheduler.step()

    ## When it is fine
    A scheduler built again for the new optimizer.

    ## Measured
    Not measured directly; the loss series of the probe shows the consequence.

    ## References
    - PyTorch, How to adjust learning rate
    """

    code, slug, severity = "SCH015", "scheduler-stale-optimizer", Severity.ERROR
    fix = Applicability.UNSAFE
    unmeasured_because = "the probe ends within the first epochs"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report schedulers of replaced optimizers."""
        places: set[Location] = set()
        stepped = [
            optimizer
            for loop in training_loops(program)
            for number in loop.optimizers
            if (optimizer := object_of(program, number)) is not None
        ]
        active = {optimizer.id for optimizer in stepped}
        for scheduler in program.objects:
            if scheduler.kind is not ObjectKind.SCHEDULER or not step_sites(program, scheduler):
                continue
            stale = object_of(program, scheduled_optimizer(program, scheduler.id))
            if stale is None or stale.kind is not ObjectKind.OPTIMIZER or stale.id in active:
                continue
            if stale.escaped or stale.same_as is not None or stale.conditions:
                continue
            for optimizer in stepped:
                if optimizer.id < scheduler.id or not set(optimizer.names) & set(stale.names):
                    continue
                if optimizer.conditions or optimizer.within != stale.within:
                    continue
                if one_per_place(places, scheduler.location):
                    yield self.finding(
                        scheduler.location,
                        f"this schedules an optimizer that `{optimizer.names[0]}` no longer is",
                        help="build the scheduler after the optimizer that is stepped",
                        related=(Related(optimizer.location, "replaced here"),),
                        fix=self.repair(
                            "build the scheduler after the optimizer",
                            statement_edits.move_later(
                                program, scheduler.location, optimizer.location
                            ),
                        ),
                    )
