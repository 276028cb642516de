"""SCH005: the learning rate is gone long before the run ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Evidence, Finding, Severity
from convlint.predictions import Prediction
from convlint.program.facts import ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns.courses import short_name
from convlint.rules.patterns.figures import figure, share
from convlint.rules.patterns.flows import objects_by_id
from convlint.rules.patterns.places import place_to_location
from convlint.rules.patterns.schedules import (
    counts_epochs_per_batch,
    hand_written,
    plan_of,
    simulate,
    sparkline,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from convlint.findings import Location
    from convlint.gpu_probes.observations import Observations, ScheduleAhead
    from convlint.program.facts import TrainingProgram

DEAD_FACTOR = 1e-3
"""Share of the peak rate below which weights stand still: the usual recipes ([30, 60, 90] x 0.1)
end at exactly this value, and do so for the last quarter of the run only."""
DEAD_BY = 0.5
"""A rate that is dead for the second half of the run wastes at least half of the budget."""
EXTINCT_FACTOR = 1e-6
"""Below float32's resolution of a weight that moves by 1e-3 of itself per step at the peak."""
EXTINCT_BY = 0.7
"""Extinct with more than 30 % of the run to go."""
TOLERANCE = 1e-6
"""Relative: a product of exact tenths may come out a rounding error below a thousandth."""
SHORTEST_RUN = 4
"""Shorter runs have no second half to speak of."""


class LrScheduleCollapses(Rule):
    """The schedule turns the learning rate off long before the run ends.

    ## What it does
    Simulates the scheduler from its arguments (functions given to `LambdaLR` included), or the
    rates the script writes into `param_groups` itself, over the number of epochs (or steps) of the
    run, and reports when the rate falls below a thousandth of its peak by half of the run, or below a
    millionth with more than 30 % of the run left, and does not come back.

    ## Why it hurts
    The rest of the run costs as much as the first part and changes nothing. In the terms of
    Robbins and Monro, the sum of the learning rates must be large enough to reach the minimum from
    where training starts; a geometric decay bounds it by a few initial steps.

    ## Example
        import torch
        from torch import nn

        model = nn.Linear(10, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.1)
        x, y = torch.randn(64, 10), torch.randn(64, 1)
        for epoch in range(40):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            scheduler.step()

    ## Use instead
        import torch
        from torch import nn

        model = nn.Linear(10, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=15, gamma=0.1)
        x, y = torch.randn(64, 10), torch.randn(64, 1)
        for epoch in range(40):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            scheduler.step()

    ## When it is fine
    Cosine and polynomial schedules that reach zero at the end of the run; warm restarts and cycles
    that come back; a length of the run that is only known at run time.

    ## Measured
    `convlint probe` steps the real scheduler ahead on a copy, for the planned number of calls.

    ## References
    - Robbins and Monro, A stochastic approximation method, 1951
    - PyTorch, `torch.optim.lr_scheduler`
    """

    code, slug, severity = "SCH005", "lr-schedule-collapses", Severity.WARNING
    prediction = Prediction("relative learning rate at half time", "below", DEAD_FACTOR)
    measurements = ("schedule ahead",)

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per scheduler whose simulated rate dies early."""
        objects = objects_by_id(program)
        inner = {
            item.object
            for scheduler in program.objects
            if scheduler.kind is ObjectKind.SCHEDULER and "schedulers" in scheduler.args
            for item in scheduler.args["schedulers"].items or ()
        }
        reported: set[Location] = set()
        for scheduler in program.objects:
            if scheduler.kind is not ObjectKind.SCHEDULER or scheduler.id in inner:
                continue
            if counts_epochs_per_batch(program, scheduler, objects) is not None:
                continue  # the place of the call is at fault: epoch-schedule-per-batch
            plan = plan_of(program, scheduler)
            rates = simulate(scheduler, objects, plan.steps) if plan is not None else None
            if plan is None or rates is None or scheduler.location in reported:
                continue
            death = _death(rates)
            if death is None:
                continue
            reported.add(scheduler.location)
            first, factor = death
            name = short_name(scheduler)
            yield self.finding(
                scheduler.location,
                f"{name} brings the learning rate to {figure(rates[first])}, below {factor:g} of its "
                f"peak of {figure(max(rates))}, after {plan.unit} {first} of {plan.steps}, and it stays "
                f"there ({sparkline(rates)})",
                help=_advice(name, plan.steps),
                evidence=_evidence("static", rates, first, plan.steps, plan.unit),
            )
        yield from self._by_hand(program)

    def _by_hand(self, program: TrainingProgram) -> Iterator[Finding]:
        for optimizer in program.objects:
            if optimizer.kind is not ObjectKind.OPTIMIZER:
                continue
            schedule = hand_written(program, optimizer)
            if schedule is None or schedule.compounds:
                continue
            death = _death(schedule.rates)
            if death is None:
                continue
            first, factor = death
            epochs = len(schedule.rates)
            yield self.finding(
                schedule.location,
                f"the learning rate written here is {figure(schedule.rates[first])}, below {factor:g} "
                f"of its peak of {figure(max(schedule.rates))}, after epoch {first} of {epochs}, and it "
                f"stays there ({sparkline(schedule.rates)})",
                help=_advice("", epochs),
                evidence=_evidence("static", schedule.rates, first, epochs, "epoch"),
            )

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """One finding per scheduler that, stepped ahead on a copy, lets the rate die early."""
        for ahead in _planned(seen):
            rates = ahead.learning_rates
            death = _death(rates)
            if death is None:
                continue
            first, factor = death
            unit = ahead.per if ahead.per in ("epoch", "step") else "call"
            at = round(first / len(rates) * ahead.calls)
            yield self.finding(
                place_to_location(ahead.place, seen),
                f"{ahead.cls}, stepped ahead, brings the learning rate to {figure(rates[first])}, below "
                f"{factor:g} of its peak of {figure(max(rates))}, after {unit} {at} of {ahead.calls}, "
                f"and it stays there ({sparkline(rates)})",
                help=_advice(ahead.cls, ahead.calls),
                evidence=_evidence("measured", rates, at, ahead.calls, unit),
            )

    def reading(self, seen: Observations) -> str | None:
        """The learning rate half way through the run."""
        for ahead in _planned(seen):
            rates = ahead.learning_rates
            factor = rates[len(rates) // 2] / max(rates)
            return (
                f"stepped ahead over {ahead.calls} calls, the learning rate is at "
                f"{figure(factor)} of its peak half way ({sparkline(rates)})"
            )
        return None


def _planned(seen: Observations) -> tuple[ScheduleAhead, ...]:
    return tuple(
        ahead
        for ahead in seen.schedules
        if ahead.planned
        and ahead.calls >= SHORTEST_RUN
        and len(ahead.learning_rates) >= SHORTEST_RUN
        and max(ahead.learning_rates) > 0.0
    )


def _death(rates: Sequence[float]) -> tuple[int, float] | None:
    """From which entry on the rate is dead for good, and below which share of its peak; None when
    it lives long enough."""
    peak = max(rates, default=0.0)
    if len(rates) < SHORTEST_RUN or peak <= 0.0:
        return None
    for factor, by in ((DEAD_FACTOR, DEAD_BY), (EXTINCT_FACTOR, EXTINCT_BY)):
        first = len(rates)
        while first > 0 and rates[first - 1] < factor * peak * (1 - TOLERANCE):
            first -= 1
        if first < len(rates) and first <= by * len(rates):
            return first, factor
    return None


def _advice(name: str, steps: int) -> str:
    if name == "ExponentialLR":
        gamma = 0.01 ** (1 / steps)
        return f"gamma = {gamma:.4g} reaches 1 % of the initial rate at the end of {steps} epochs"
    if name == "StepLR":
        return f"step_size = {max(1, steps // 3)} divides the run of {steps} into three stages"
    return f"stretch the schedule over the whole run of {steps}"


def _evidence(
    source: str, rates: Sequence[float], first: int, steps: int, unit: str
) -> tuple[Evidence, ...]:
    """The numbers: where the rate dies, and the sums that decide how far training can get."""
    peak = max(rates)
    scale = steps / len(rates)
    reach = sum(rates) / peak * scale
    squares = sum(rate * rate for rate in rates) / peak**2 * scale
    half = rates[len(rates) // 2] / peak
    return (
        Evidence(
            source,
            f"dead from {unit} {first} of {steps}: the last {share(1 - first / steps)} of the run "
            "changes nothing",
            quantity="share of the run with a dead learning rate",
            value=1 - first / steps,
            expected=f"below {DEAD_BY:g}",
        ),
        Evidence(
            source,
            "learning rate half way through the run, relative to its peak",
            quantity="relative learning rate at half time",
            value=half,
            expected=f"above {DEAD_FACTOR:g}",
        ),
        Evidence(
            source,
            f"all learning rates together are worth {figure(reach)} {unit}s at the peak rate "
            f"(their squares {figure(squares)}); convergence from any start needs an unbounded "
            "sum with a bounded sum of squares",
            quantity="sum of learning rates over peak",
            value=reach,
            unit=f"{unit}s",
            expected=f"a good part of {steps}",
        ),
    )
