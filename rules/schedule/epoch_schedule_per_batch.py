"""SCH004: a schedule counted in epochs, stepped for every batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Finding, Related, Severity
from convlint.program.facts import ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns import statement_edits
from convlint.rules.patterns.courses import short_name
from convlint.rules.patterns.flows import objects_by_id, one_per_place
from convlint.rules.patterns.schedules import counts_epochs_per_batch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram
    from convlint.rules import Changes


class EpochSchedulePerBatch(Rule):
    """A schedule that counts epochs is stepped for every batch, and is over within the first epoch.

    ## What it does
    Reports StepLR, MultiStepLR and ExponentialLR whose decays are all over within an epoch of
    batches, and CosineAnnealingLR whose `T_max` is the number of epochs, when they are stepped in
    the batch loop.

    ## Why it hurts
    The learning rate is gone before the first epoch ends, or goes up and down once in every few
    batches.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(4096, 8), torch.randint(0, 2, (4096,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=5)
        for epoch in range(20):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
                scheduler.step()

    ## Use instead
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(4096, 8), torch.randint(0, 2, (4096,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=5)
        for epoch in range(20):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
            scheduler.step()

    ## When it is fine
    Steps under a condition, a fraction of the epoch as argument, a horizon counted in batches.

    ## Measured
    `convlint probe` steps the real scheduler ahead on a copy (see `lr-schedule-collapses`).

    ## References
    - PyTorch, How to adjust learning rate
    """

    code, slug, severity = "SCH004", "epoch-schedule-per-batch", Severity.WARNING
    fix = Applicability.UNSAFE
    confirmed_by = ("lr-schedule-collapses",)

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report schedules of epochs that see batches."""
        places: set[Location] = set()
        objects = objects_by_id(program)
        for scheduler in program.objects:
            if scheduler.kind is not ObjectKind.SCHEDULER:
                continue
            event = counts_epochs_per_batch(program, scheduler, objects)
            if event is not None and one_per_place(places, event.location):
                yield self.finding(
                    event.location,
                    f"{short_name(scheduler)} counts epochs, but is stepped for every batch",
                    help="move scheduler.step() out of the batch loop, or count in batches",
                    related=(Related(scheduler.location, "its length is given here"),),
                    fix=self.repair(
                        "step the scheduler after the loop over batches",
                        _per_epoch(program, event.location),
                    ),
                )


def _per_epoch(program: TrainingProgram, place: Location) -> Changes:
    """Move the call out of the loop it directly stands in, when another loop is around that."""
    statement = statement_edits.lone_call(program, place)
    around = list(statement.around()) if statement is not None else []
    loops = [outer for outer in around if outer.kind in ("For", "While")]
    if statement is None or len(loops) < 2 or statement.parent is not loops[0]:
        return None
    return statement_edits.move(program, statement, after=loops[0])
