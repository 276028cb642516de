"""SCH014: a scheduler built anew in every epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Finding, Related, Severity
from convlint.program.facts import ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns import statement_edits
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.ownership import name_of, object_of, scheduled_optimizer
from convlint.rules.patterns.schedules import step_sites

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram


class SchedulerInLoop(Rule):
    """The scheduler is built anew before each of its steps, and never gets beyond the first.

    ## What it does
    Reports a scheduler constructed, unconditionally, in the same loop in which it is stepped, for
    an optimizer that was built outside of that loop.

    ## Why it hurts
    A new scheduler starts counting at zero (and takes the present rate for the initial one): a
    cosine or a step decay never takes place, an exponential compounds on what the previous one
    left.

    ## Example
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
        for epoch in range(20):
            scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
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
    Folds, tasks and stages, which build an optimizer of their own or step the scheduler in a loop
    inside; construction under a condition.

    ## Measured
    Not measured directly; the loss series of the probe shows the consequence.

    ## References
    - PyTorch, How to adjust learning rate
    """

    code, slug, severity = "SCH014", "scheduler-in-loop", Severity.WARNING
    fix = Applicability.UNSAFE
    unmeasured_because = "the probe ends within the first epochs"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report schedulers constructed where they are stepped."""
        places: set[Location] = set()
        made_in = {
            call.result.object: call.loops
            for call in program.calls
            if call.result.object is not None and not call.conditional and not call.conditions
        }
        for scheduler in program.objects:
            if scheduler.kind is not ObjectKind.SCHEDULER or not made_in.get(scheduler.id):
                continue
            optimizer = object_of(program, scheduled_optimizer(program, scheduler.id))
            if optimizer is None or optimizer.kind is not ObjectKind.OPTIMIZER or scheduler.escaped:
                continue
            innermost = made_in[scheduler.id][-1]
            built = made_in.get(optimizer.id)
            if built is None or innermost in built:
                continue
            sites = step_sites(program, scheduler)
            if not sites or any(not loops or loops[-1].id != innermost for _, loops, _ in sites):
                continue
            if one_per_place(places, scheduler.location):
                yield self.finding(
                    scheduler.location,
                    f"`{name_of(scheduler, 'the scheduler')}` is built anew in every iteration and "
                    "stepped once: its schedule never takes place",
                    help="build it once, before the loop",
                    related=(Related(sites[0][0].location, "stepped once per object"),),
                    fix=self.repair(
                        "build it before the loop",
                        statement_edits.hoist(program, scheduler.location),
                    ),
                )
