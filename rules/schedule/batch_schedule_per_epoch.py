"""SCH003: a schedule counted in batches, stepped once per epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Finding, Related, Severity
from convlint.program.facts import ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns import statement_edits
from convlint.rules.patterns.courses import short_name
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.paths import occurrences
from convlint.rules.patterns.schedules import step_sites, trains_inside
from convlint.rules.patterns.training_loops import STEPS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import Event, Loop, Object, TrainingProgram
    from convlint.rules import Changes

MANY_TIMES = 10
"""A horizon this many times the epochs counts batches, whatever the loader holds."""
_HORIZONS = ("steps_per_epoch", "total_steps", "num_training_steps", "T_max")
_BATCHES = "<batches>"


class BatchSchedulePerEpoch(Rule):
    """A schedule that counts batches is stepped once per epoch, and hardly begins.

    ## What it does
    Reports OneCycleLR, CosineAnnealingLR and the warm-up schedules of transformers whose length is
    counted in batches (`steps_per_epoch`, `len(loader)`, or at least ten times the epochs), when
    they are stepped in the epoch loop only.

    ## Why it hurts
    Of a schedule of a thousand steps the run takes twenty: the rate stays in its warm-up, a small
    fraction of what was planned, and never decays.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=0.1, epochs=20, steps_per_epoch=len(loader)
        )
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

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=0.1, epochs=20, steps_per_epoch=len(loader)
        )
        for epoch in range(20):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
                scheduler.step()

    ## When it is fine
    `total_steps` equal to the number of epochs.

    ## Measured
    The probe steps the scheduler ahead; how often the script steps it in an epoch it sees too
    late.

    ## References
    - PyTorch, `torch.optim.lr_scheduler.OneCycleLR`
    """

    code, slug, severity = "SCH003", "batch-schedule-per-epoch", Severity.WARNING
    fix = Applicability.UNSAFE
    unmeasured_because = "the probe ends before the first epoch does"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report schedules of batches that see epochs only."""
        places: set[Location] = set()
        for scheduler in program.objects:
            if scheduler.kind is not ObjectKind.SCHEDULER:
                continue
            sites = step_sites(program, scheduler)
            if not sites or any(conditional or not loops for _, loops, conditional in sites):
                continue
            if not all(trains_inside(loops[-1]) for _, loops, _ in sites):
                continue
            epochs = sites[0][1][-1].trips.number
            counted = _counted(scheduler, epochs)
            if counted and one_per_place(places, scheduler.location):
                event = sites[0][0]
                yield self.finding(
                    event.location,
                    f"{short_name(scheduler)} counts batches ({counted}), but is stepped once per epoch",
                    help="move scheduler.step() into the batch loop, after optimizer.step()",
                    related=(Related(scheduler.location, "its length is given here"),),
                    fix=self.repair(
                        "step the scheduler after each step of the optimizer",
                        _per_batch(program, event, sites[0][1][-1]),
                    ),
                )


def _counted(scheduler: Object, epochs: float | None) -> str:
    """The argument that shows that the schedule counts batches, or ""."""
    for name in _HORIZONS:
        value = scheduler.args.get(name)
        if value is None:
            continue
        if value.name == _BATCHES:
            return name
        if value.number is None:
            continue
        if name == "steps_per_epoch":
            return f"{name}={value.number:g}" if value.number > 1 else ""
        if epochs is not None and value.number >= MANY_TIMES * epochs:
            return f"{name}={value.number:g}"
    return ""


def _per_batch(program: TrainingProgram, step: Event, epochs: Loop) -> Changes:
    """Move the call behind the one step of an optimizer in the loop over epochs."""
    steps = {
        o.event.location: o
        for o in occurrences(epochs.body)
        if o.kind in STEPS and not o.conditional
    }
    if len(steps) != 1 or step.args:
        return None
    (place,) = steps
    if not statement_edits.same_function(program, place, step.location):
        return None
    return statement_edits.move(
        program,
        statement_edits.lone_call(program, step.location),
        after=statement_edits.own_statement(program, place),
    )
