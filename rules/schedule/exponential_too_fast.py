"""SCH006: a geometric decay that halves the rate, or worse, every epoch or two."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Confidence, Evidence, Finding, Related, Severity
from convlint.program.facts import ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns.courses import scheduler_class
from convlint.rules.patterns.flows import objects_by_id
from convlint.rules.patterns.schedules import (
    plan_of,
    simulate,
    sparkline,
    stepping_unit,
    steps_conditionally,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import Object, TrainingProgram

FASTEST_GAMMA = 0.5
"""Halving every epoch uses up a factor of a thousand in ten epochs. Recipes in use stay above: the
MNIST example of PyTorch has 0.7 per epoch over 14."""
LONGEST_STEP = 2
"""With longer steps even a factor of ten leaves time to learn in between."""
SHOWN_STEPS = 12


class ExponentialTooFast(Rule):
    """The learning rate is multiplied by less than a half every epoch or two.

    ## What it does
    Reports `ExponentialLR`, or `StepLR` with a step of one or two, whose `gamma` is below 0.5,
    when the length of the run is not known (when it is, the schedule is simulated and judged as
    `lr-schedule-collapses`).

    ## Why it hurts
    The sum of a geometric series is bounded: with gamma 0.4 all learning rates together are worth
    less than two epochs at the initial rate, however long the run.

    ## Example
        import sys
        import torch
        from torch import nn

        model = nn.Linear(10, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.3)
        x, y = torch.randn(64, 10), torch.randn(64, 1)
        for epoch in range(int(sys.argv[1])):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            scheduler.step()

    ## Use instead
        import sys
        import torch
        from torch import nn

        model = nn.Linear(10, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.95)
        x, y = torch.randn(64, 10), torch.randn(64, 1)
        for epoch in range(int(sys.argv[1])):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            scheduler.step()

    ## When it is fine
    Runs of two or three epochs; a scheduler that is only stepped now and then.

    ## Measured
    `convlint probe` steps the real scheduler ahead on a copy (see `lr-schedule-collapses`).

    ## References
    - Robbins and Monro, A stochastic approximation method, 1951
    - PyTorch, `torch.optim.lr_scheduler.ExponentialLR`
    """

    code, slug, severity = "SCH006", "exponential-too-fast", Severity.WARNING
    confidence = Confidence.MEDIUM
    confirmed_by = ("lr-schedule-collapses",)

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per scheduler that decays too fast for a run of unknown length."""
        objects = objects_by_id(program)
        reported: set[Location] = set()
        for scheduler in program.objects:
            if scheduler.kind is not ObjectKind.SCHEDULER or scheduler.location in reported:
                continue
            period = _period(scheduler)
            gamma = scheduler.args.get("gamma")
            factor = gamma.number if gamma is not None else None
            if period is None or gamma is None or factor is None or not 0 < factor < FASTEST_GAMMA:
                continue
            if plan_of(program, scheduler) is not None:
                continue  # the length of the run is known: SCH005 judges it exactly
            conditional = steps_conditionally(program, scheduler)
            if conditional or (conditional is None and not program.managed):
                continue
            reported.add(scheduler.location)
            worth = period / (1 - factor)
            rates = simulate(scheduler, objects, SHOWN_STEPS)
            drawn = f" ({sparkline(rates)})" if rates else ""
            unit = stepping_unit(program, scheduler)
            every = f"every {unit}" if period == 1 else f"every {period} {_plural(unit)}"
            origin = gamma.origin
            related: tuple[Related, ...] = ()
            if origin is not None and origin.location is not None and origin.text:
                related = (Related(origin.location, origin.text),)
            yield self.finding(
                scheduler.location,
                f"{scheduler_class(scheduler)} multiplies the learning rate by {factor:g} {every}"
                f"{drawn}: all of it together is worth {worth:.3g} {_plural(unit)} at the initial "
                "rate",
                help="raise gamma (0.9 to 0.99 per epoch), or use a cosine schedule over the run"
                + ("; step it once per epoch" if unit == "batch" else ""),
                related=related,
                evidence=(
                    Evidence(
                        "static",
                        "sum of the learning rates of an endless run over the initial rate",
                        quantity="sum of learning rates",
                        value=worth,
                        unit=_plural(unit),
                        expected="about the length of the run",
                    ),
                ),
            )


def _plural(unit: str) -> str:
    return "batches" if unit == "batch" else f"{unit}s"


def _period(scheduler: Object) -> int | None:
    """Scheduler steps between two decays, when that is 1 or 2; None otherwise."""
    name = scheduler_class(scheduler)
    if name == "ExponentialLR":
        return 1
    size = scheduler.args.get("step_size")
    number = size.number if name == "StepLR" and size is not None else None
    return int(number) if number is not None and 1 <= number <= LONGEST_STEP else None
