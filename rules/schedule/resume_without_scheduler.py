"""SCH017: a resumed run whose schedule starts over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Confidence, Finding, Related, Severity
from convlint.program.facts import ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns.courses import scheduler_class
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.handed import is_handed_on
from convlint.rules.patterns.ownership import name_of, object_of, scheduled_optimizer
from convlint.rules.patterns.schedules import step_sites

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram


class ResumeWithoutScheduler(Rule):
    """A checkpoint restores the optimizer but not its scheduler.

    ## What it does
    Reports a script that calls `load_state_dict` of an optimizer and steps a scheduler of it that
    is neither restored nor given `last_epoch`.

    ## Why it hurts
    The scheduler starts counting at zero: the resumed run repeats the warm-up and the high rates
    on weights that were annealed already.

    ## Example
        import torch
        from torch import nn

        model = nn.Linear(8, 2)
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=50)
        checkpoint = torch.load("last.pt")
        model.load_state_dict(checkpoint["model"])
        optimizer.load_state_dict(checkpoint["optimizer"])
        x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
        for epoch in range(checkpoint["epoch"], 50):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            scheduler.step()

    ## Use instead
        import torch
        from torch import nn

        model = nn.Linear(8, 2)
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=50)
        checkpoint = torch.load("last.pt")
        model.load_state_dict(checkpoint["model"])
        optimizer.load_state_dict(checkpoint["optimizer"])
        scheduler.load_state_dict(checkpoint["scheduler"])
        x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
        for epoch in range(checkpoint["epoch"], 50):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            scheduler.step()

    ## When it is fine
    `last_epoch` given, the scheduler stepped up to the epoch, plateau schedulers, schedulers
    handed to other code.

    ## Measured
    Not measured.

    ## References
    - PyTorch, Saving and loading a general checkpoint
    """

    code, slug, severity = "SCH017", "resume-without-scheduler", Severity.WARNING
    confidence = Confidence.MEDIUM
    unmeasured_because = "the probe does not see the run that wrote the checkpoint"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report schedules a resumed run starts over."""
        if program.managed:
            return
        places: set[Location] = set()
        for scheduler in program.objects:
            if scheduler.kind is not ObjectKind.SCHEDULER or scheduler.symbolic:
                continue
            if scheduler_class(scheduler) in ("", "ReduceLROnPlateau") or scheduler.methods == ():
                continue
            optimizer = object_of(program, scheduled_optimizer(program, scheduler.id))
            if optimizer is None or "load_state_dict" not in optimizer.methods:
                continue
            sites = step_sites(program, scheduler)
            last = scheduler.args.get("last_epoch")
            if len(sites) != 1 or sites[0][0].args or not sites[0][1]:
                continue
            if "last_epoch" in scheduler.attributes:
                continue  # set by hand to where the run stopped
            if "load_state_dict" in scheduler.methods or (last is not None and last.number != -1):
                continue
            if is_handed_on(program, scheduler) or is_handed_on(program, optimizer):
                continue
            if one_per_place(places, scheduler.location):
                yield self.finding(
                    scheduler.location,
                    f"`{name_of(optimizer, 'the optimizer')}` is restored from a checkpoint, "
                    f"`{name_of(scheduler, 'the scheduler')}` is not: its schedule starts over",
                    help="save and load the scheduler's state_dict as well",
                    related=(Related(optimizer.location, "the optimizer"),),
                )
