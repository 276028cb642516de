"""SCH020: a run meant to go on, with a rate whose sum is soon spent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Confidence, Finding, Severity
from convlint.program.facts import ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns.courses import scheduler_class
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.ownership import object_of, scheduled_optimizer
from convlint.rules.patterns.schedules import step_sites

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import Object, TrainingProgram

FEWEST_WORTH = 10.0
"""Initial steps' worth of movement."""
LONG_RUN = 100_000
FASTEST_KNOWN = 0.5
"""Below, exponential-too-fast speaks."""


class RobbinsMonroViolated(Rule):
    """The run goes on for long, but all its learning rates together are worth less than ten steps.

    ## What it does
    Reports SGD in a loop without a known end, or of at least a hundred thousand steps, under an
    ExponentialLR whose rates sum to less than ten times the first.

    ## Why it hurts
    Convergence from any start needs learning rates with an unbounded sum (Robbins and Monro). A
    geometric decay bounds it: wherever the weights are after ten steps' worth, there they stay.

    ## Example
        import torch
        from torch import nn

        model = nn.Linear(8, 2)
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.8)
        x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
        while True:
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
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 1 / (1 + t))
        x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
        while True:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            scheduler.step()

    ## When it is fine
    Finite schedules: a cosine, a linear decay over a known run.

    ## Measured
    Not measured directly; the loss series of the probe shows the consequence.

    ## References
    - Robbins and Monro, A stochastic approximation method, 1951
    """

    code, slug, severity = "SCH020", "robbins-monro-violated", Severity.WARNING
    confidence = Confidence.MEDIUM
    confirmed_by = ("lr-schedule-collapses",)
    unmeasured_because = "the loop has no end the probe could see"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report geometric decays in runs without an end."""
        places: set[Location] = set()
        for scheduler in program.objects:
            if scheduler.kind is not ObjectKind.SCHEDULER:
                continue
            plateau = _steps_between_decays(scheduler)
            optimizer = object_of(program, scheduled_optimizer(program, scheduler.id))
            value = scheduler.args.get("gamma")
            gamma = value.number if value is not None else None
            if optimizer is None or optimizer.cls != "torch.optim.SGD" or gamma is None:
                continue
            if plateau is None or not FASTEST_KNOWN <= gamma < 1:
                continue
            if (worth := plateau / (1 - gamma)) >= FEWEST_WORTH:
                continue
            sites = step_sites(program, scheduler)
            if len(sites) != 1 or sites[0][2] or not sites[0][1]:
                continue
            trips = sites[0][1][-1].trips.number
            if sites[0][1][-1].kind != "while" and (trips is None or trips < LONG_RUN):
                continue
            if one_per_place(places, scheduler.location):
                yield self.finding(
                    scheduler.location,
                    f"all learning rates of this run together are worth {worth:.3g} steps at "
                    "the initial rate, however long it goes on",
                    help="decay like 1/t, or over a known number of steps",
                )


def _steps_between_decays(scheduler: Object) -> float | None:
    """How many steps keep each rate of a geometric decay, if this is one and it is known."""
    if scheduler_class(scheduler) == "ExponentialLR":
        return 1.0
    size = scheduler.args.get("step_size")
    if scheduler_class(scheduler) == "StepLR" and size is not None:
        return size.number
    return None
