"""CVG005: the loss falls, but far more slowly than the curvature would allow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns.figures import figure, measured_evidence, surely_above
from convlint.rules.patterns.hessian import trusted_curvature
from convlint.rules.patterns.loss_series import first_and_last
from convlint.rules.patterns.places import first_place, place_to_location
from convlint.rules.patterns.runs import (
    has_moving_objective,
    is_warming_up,
    knows_already,
    uses_line_search,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.gpu_probes.observations import Observations, StabilityLimit

STEPS = 50
"""Every run is slow in its first steps."""
ROOM = 100.0
"""Stability limit over learning rate: with so much room a rate ten times as large is safe, and
slow progress is a choice nobody made."""
STEP_UP = 10.0
"""The advised factor: a tenth of the room, as sharpness grows while training."""


class SlowConvergence(Rule):
    """The loss falls far more slowly than a larger learning rate would make it.

    ## What it does
    Joins the convergence class of the loss series with the stability limit of the learning rate.

    ## Why it hurts
    The run needs many times the steps it could do with.

    ## Example
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-5)

    ## Use instead
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

    ## When it is fine
    Fine-tuning, warm-up, moving targets and several optimizers are not judged; without a measured stability limit
    slow is a note, as a hundred steps of a long run always are.

    ## Measured
    Kind `slow` over at least 50 steps; warning when the learning rate is also more than 100 times
    below its stability limit.

    ## References
    - McCandlish et al., An empirical model of large-batch training, 2018
    """

    code, slug, severity = "CVG005", "slow-convergence", Severity.WARNING
    measurements = ("steps", "curvature")
    explained_by = ("LOP", "LOS", "NRM", "AMP", "DAT", "SCH", "FLO")

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """One finding for the run."""
        convergence, span = seen.convergence, first_and_last(seen)
        if convergence is None or span is None or not _can_judge(seen):
            return
        if convergence.kind != "slow":
            return
        first, last = span
        roomy = _roomy(seen)
        place = roomy.place if roomy else first_place(use.place for use in seen.optimizers)
        room = (
            f"; the learning rate {figure(roomy.learning_rate)} is "
            f"{figure(roomy.headroom.value)} times below its stability limit"
            if roomy
            else ""
        )
        yield self.finding(
            place_to_location(place, seen),
            f"the loss falls slowly: from {figure(first)} to {figure(last)} in "
            f"{convergence.steps} steps{room}",
            help=f"try a learning rate of {figure((roomy.learning_rate or 0.0) * STEP_UP)}"
            if roomy
            else "try a learning rate 3 to 10 times as large",
            severity=self.severity if roomy else Severity.INFO,
            evidence=measured_evidence(
                f"loss after {convergence.steps} steps, from {figure(first)}",
                quantity="loss",
                value=last,
            ),
        )

    def reading(self, seen: Observations) -> str | None:
        """The class of the series with its rate."""
        convergence = seen.convergence
        if convergence is None or not _can_judge(seen) or convergence.kind == "undetermined":
            return None
        rate = convergence.rate.value if convergence.rate is not None else None
        fitted = f" at a {convergence.rate_class} rate of {figure(rate)}" if rate else ""
        return f"the loss is {convergence.kind}{fitted} over {convergence.steps} steps"


def _can_judge(seen: Observations) -> bool:
    return (
        seen.convergence is not None
        and seen.convergence.steps >= STEPS
        and not has_moving_objective(seen)
        and not uses_line_search(seen)
        and not is_warming_up(seen)
        and not knows_already(seen)
    )


def _roomy(seen: Observations) -> StabilityLimit | None:
    """An optimizer far below its limit everywhere the curvature was measured."""
    curvatures = trusted_curvature(seen)
    if not curvatures or not all(
        surely_above(limit.headroom, ROOM) for curvature in curvatures for limit in curvature.limits
    ):
        return None
    return next((limit for limit in curvatures[-1].limits if limit.learning_rate), None)
