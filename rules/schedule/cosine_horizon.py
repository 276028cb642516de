"""SCH008: a cosine whose horizon is not the length of the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Evidence, Finding, Severity
from convlint.program.facts import ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.courses import scheduler_class
from convlint.rules.patterns.flows import objects_by_id
from convlint.rules.patterns.schedules import (
    counts_epochs_per_batch,
    plan_of,
    simulate,
    sparkline,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram

UNFINISHED = 0.1
"""Share of the peak rate at the end of the run. A horizon a few epochs off (a warm-up left out, an
epoch counted differently) ends below 1 %; a tenth means that annealing never took place."""
COMPOSITES = frozenset({"SequentialLR", "ChainedScheduler"})


class CosineHorizon(Rule):
    """The cosine schedule ends before or after the run does.

    ## What it does
    Compares `T_max` of `CosineAnnealingLR` with the number of times the scheduler is stepped, when
    both are known, and reports when the rate is still (or again) above a tenth of its peak at the
    end.

    ## Why it hurts
    With `T_max` shorter than the run the rate *rises* again and undoes the annealing; with a
    longer one the run ends at a high rate, and the gain of the last, fine steps is lost.

    ## Example
        import torch
        from torch import nn

        model = nn.Linear(10, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=50)
        x, y = torch.randn(64, 10), torch.randn(64, 1)
        for epoch in range(90):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            scheduler.step()

    ## Use instead
        import torch
        from torch import nn

        epochs = 90
        model = nn.Linear(10, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)
        x, y = torch.randn(64, 10), torch.randn(64, 1)
        for epoch in range(epochs):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            scheduler.step()

    ## When it is fine
    Warm restarts, a cosine that is one part of a sequence, a horizon shortened by the warm-up.

    ## Measured
    The probe steps the scheduler ahead; whether a rise is wanted it cannot know.

    ## References
    - Loshchilov and Hutter, SGDR: stochastic gradient descent with warm restarts, ICLR 2017
    """

    code, slug, severity = "SCH008", "cosine-horizon", Severity.WARNING
    fix = Applicability.UNSAFE
    unmeasured_because = "the probe cannot know where the schedule was meant to end"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per cosine that is far from its minimum at the end of the run."""
        objects = objects_by_id(program)
        parts = {
            item.object
            for scheduler in program.objects
            if scheduler_class(scheduler) in COMPOSITES and "schedulers" in scheduler.args
            for item in scheduler.args["schedulers"].items or ()
        }
        reported: set[Location] = set()
        for scheduler in program.objects:
            if scheduler.kind is not ObjectKind.SCHEDULER or scheduler.id in parts:
                continue
            if scheduler_class(scheduler) != "CosineAnnealingLR" or scheduler.location in reported:
                continue
            if counts_epochs_per_batch(program, scheduler, objects) is not None:
                continue  # the place of the call is at fault: epoch-schedule-per-batch
            horizon = scheduler.args.get("T_max")
            length = horizon.number if horizon is not None else None
            plan = plan_of(program, scheduler)
            rates = simulate(scheduler, objects, plan.steps) if plan is not None else None
            if length is None or plan is None or rates is None or max(rates) <= 0:
                continue
            low = min(rates)
            left = (rates[-1] - low) / max(rates) if length < plan.steps else rates[-1] / max(rates)
            if left < UNFINISHED or plan.steps < 3:
                continue
            reported.add(scheduler.location)
            rises = length < plan.steps
            yield self.finding(
                scheduler.location,
                f"T_max={length:g}, but the run has {plan.steps} {plan.unit}s: the learning rate "
                + ("rises again" if rises else "never comes down")
                + f" and ends at {rates[-1] / max(rates):.0%} of its peak ({sparkline(rates)})",
                help=f"set T_max to the number of {plan.unit}s of the run ({plan.steps}), or use "
                "CosineAnnealingWarmRestarts when the rise is wanted",
                fix=self.repair(
                    f"let the cosine last for the {plan.steps} {plan.unit}s of the run",
                    edits.set_value(program, horizon, str(plan.steps)),
                ),
                evidence=(
                    Evidence(
                        "static",
                        "learning rate at the end of the run over its peak",
                        quantity="final relative learning rate",
                        value=rates[-1] / max(rates),
                        expected=f"below {UNFINISHED:g}",
                    ),
                ),
            )
