"""CVG003: the loss jumps up and down and gets nowhere."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.predictions import Prediction
from convlint.rules import Rule
from convlint.rules.patterns.figures import figure, finite, measured_evidence
from convlint.rules.patterns.places import first_place, place_to_location
from convlint.rules.patterns.runs import has_moving_objective, uses_line_search

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.gpu_probes.observations import Observations

STEPS = 30
"""An alternation is told from chance by its autocorrelation; its standard error is 1/sqrt(n)."""
PROGRESS = 0.1
"""Share of the first loss the run must have gained to count as progress in spite of the swings:
full-batch training at the edge of stability swings and falls."""


class OscillatingLoss(Rule):
    """The training loss alternates from step to step and does not fall.

    ## What it does
    Reads the class the convergence fit gave to the loss series: successive losses lie on opposite
    sides of the trend.

    ## Why it hurts
    Steps overshoot the valley and come back: the learning rate (or the momentum) is near or above
    what the curvature allows, and nothing is gained.

    ## Example
        optimizer = torch.optim.SGD(model.parameters(), lr=2.0)

    ## Use instead
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## When it is fine
    A loss that swings and falls (edge of stability, two alternating batches) is a note; losses of
    several optimizers, against moving targets and of a line search are not judged.

    ## Measured
    Kind `oscillating` over at least 30 steps; warning when less than 10 % of the first loss was
    gained.

    ## References
    - Cohen et al., Gradient descent on neural networks typically occurs at the edge of stability,
      ICLR 2021
    """

    code, slug, severity = "CVG003", "oscillating-loss", Severity.WARNING
    prediction = Prediction("loss", "is", "oscillating over enough steps")
    measurements = ("steps",)
    explained_by = ("LOP", "LOS", "NRM", "AMP", "DAT", "FLO")

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """One finding for the run."""
        convergence, span = seen.convergence, _mean_levels(seen)
        if (
            convergence is None
            or span is None
            or convergence.kind != "oscillating"
            or convergence.steps < STEPS
            or has_moving_objective(seen)
            # A loss of the script's own making may be a policy's, whose level says nothing.
            or not seen.losses
            or uses_line_search(seen)
        ):
            return
        first, last = span
        gained = first - last
        yield self.finding(
            place_to_location(first_place(use.place for use in seen.optimizers), seen),
            f"the loss oscillates: from {figure(first)} to {figure(last)} in {convergence.steps} "
            f"steps, with swings of {figure(convergence.noise)} from step to step",
            help="divide the learning rate by 3 to 10, or lower the momentum",
            severity=self.severity if gained < PROGRESS * abs(first) else Severity.INFO,
            evidence=measured_evidence(
                "loss gained over the run",
                quantity="loss gained",
                value=gained,
                expected=f"above {figure(PROGRESS * abs(first))}",
            ),
        )

    def reading(self, seen: Observations) -> str | None:
        """The class of the series."""
        convergence = seen.convergence
        if (
            convergence is None
            or convergence.steps < STEPS
            or convergence.kind == "undetermined"
            or has_moving_objective(seen)
        ):
            return None
        return f"the loss is {convergence.kind} over {convergence.steps} steps"


def _mean_levels(seen: Observations) -> tuple[float, float] | None:
    """Mean of the first and of the last quarter: a median jumps between the two sides of a swing."""
    losses = finite(seen.series.loss)
    quarter = len(losses) // 4
    return (fmean(losses[:quarter]), fmean(losses[-quarter:])) if quarter else None
