"""SCH002: a scheduler is built and never stepped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.predictions import Prediction
from convlint.program.facts import EventKind, ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.handed import is_handed_on
from convlint.rules.patterns.ownership import is_managed, name_of, scheduled_optimizer
from convlint.rules.patterns.paths import occurrences
from convlint.rules.patterns.places import place_to_location
from convlint.rules.patterns.training_loops import training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.gpu_probes.observations import Observations
    from convlint.program.facts import TrainingProgram

_STEPPED_BY_HAND = ("torch.optim.lr_scheduler.", "transformers.")
"""Libraries whose schedulers are moved by ``step()``; others have methods of their own."""


class SchedulerNeverStepped(Rule):
    """A learning-rate scheduler is built and never stepped.

    ## What it does
    Reports a scheduler whose optimizer is trained in this program while nothing calls the
    scheduler's `step()`.

    ## Why it hurts
    The learning rate stays at its first value for the whole run: no decay, and a schedule with
    warm-up stays at the tiny rate it starts from.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=10, gamma=0.5)
        for epoch in range(30):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
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
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=10, gamma=0.5)
        for epoch in range(30):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
            scheduler.step()

    ## When it is fine
    A scheduler that is returned, handed to a trainer or prepared by a framework, or that is part
    of a chained or sequential scheduler: none is reported.

    ## Measured
    A script that ran to its end without one scheduler step confirms it.

    ## References
    - PyTorch documentation, `torch.optim`, "How to adjust learning rate"
    """

    code = "SCH002"
    slug = "scheduler-never-stepped"
    prediction = Prediction("scheduler steps", "equals", 0.0)
    severity = Severity.WARNING
    measurements = ("optimizers",)
    unmeasured_because = "the probe stopped before the end of the script"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report schedulers of optimizers that step here, when nothing steps the scheduler."""
        if program.managed:
            return
        loops = [loop for loop in training_loops(program) if not is_managed(program, loop)]
        stepping = {optimizer for loop in loops for optimizer in loop.optimizers}
        moved = {
            o.event.target
            for entry in program.entries
            for o in occurrences(entry.body)
            if o.kind is EventKind.SCHEDULER_STEP
        }
        if None in moved:
            return
        places: set[Location] = set()
        for scheduler in program.objects:
            if scheduler.kind is not ObjectKind.SCHEDULER or scheduler.id in moved:
                continue
            if not scheduler.cls.startswith(_STEPPED_BY_HAND) or scheduler.same_as is not None:
                continue
            if scheduled_optimizer(program, scheduler.id) not in stepping:
                continue
            if is_handed_on(program, scheduler) or not one_per_place(places, scheduler.location):
                continue
            name = name_of(scheduler, "the scheduler")
            yield self.finding(
                scheduler.location,
                f"`{name}` is never stepped, so the learning rate stays at its first value",
                help=f"call `{name}.step()` once per epoch or step, as its arguments are meant",
            )

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """Report schedulers that a script which ran to its end never stepped."""
        if seen.stopped != "finished":
            return
        stepped = {use.id for use in seen.optimizers if "scheduler_step" in use.events}
        for schedule in seen.schedules:
            if schedule.per == "unknown" and schedule.optimizer not in stepped:
                yield self.finding(
                    place_to_location(schedule.place, seen),
                    f"the script ended without one step of {schedule.cls}",
                    help="call `scheduler.step()` once per epoch or step",
                )

    def reading(self, seen: Observations) -> str | None:
        """Which schedulers were seen to step."""
        stepped = [use.cls for use in seen.optimizers if "scheduler_step" in use.events]
        if not stepped:
            return None
        return "; ".join(f"the scheduler of {cls} stepped" for cls in stepped)
