"""CVG002: the loss rises."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.predictions import Prediction
from convlint.rules import Rule
from convlint.rules.patterns.figures import figure, finite, measured_evidence
from convlint.rules.patterns.loss_series import first_and_last
from convlint.rules.patterns.places import first_place, place_to_location
from convlint.rules.patterns.runs import has_moving_objective, is_classification

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.gpu_probes.observations import Observations

STEPS = 10
"""Fewer steps are the catapult of a first large step, or chance."""
BLOWN_UP = 10.0
"""Times the first loss. Moving targets (temporal differences, growing policies) can raise a
regression loss a few times in a healthy run; ten times in a short one they do not."""


class DivergingLoss(Rule):
    """The training loss rises over the short run.

    ## What it does
    Reads the class the convergence fit gave to the loss series: the end lies above the beginning
    by more than the noise, with a rising trend.

    ## Why it hurts
    The run moves away from a solution. Continuing costs time and ends in NaN or at the constant
    predictor.

    ## Example
        optimizer = torch.optim.SGD(model.parameters(), lr=5.0, momentum=0.9)

    ## Use instead
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

    ## When it is fine
    Losses of several optimizers that work against each other, and losses against targets that
    training moves (reinforcement learning, a target network), are not judged. A regression loss
    that rises less than tenfold is a warning, not an error.

    ## Measured
    Kind `diverging` over at least 10 steps, or an infinite loss after a rise.

    ## References
    - Mann, Nonparametric tests against trend, Econometrica 1945
    """

    code, slug, severity = "CVG002", "diverging-loss", Severity.ERROR
    prediction = Prediction("loss", "is", "diverging over enough steps, or infinite after a rise")
    measurements = ("steps",)
    explained_by = ("LOP", "LOS", "AMP", "unnormalized-input")

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """One finding for the run."""
        convergence, span = seen.convergence, first_and_last(seen)
        if convergence is None or span is None or has_moving_objective(seen):
            return
        first, last = span
        if convergence.kind != "diverging" or convergence.steps < STEPS or last <= first:
            return
        blown_up = last > BLOWN_UP * abs(first)
        # Against fixed labels a rising loss has no innocent reading; a rise from below the
        # constant predictor is a pre-trained model being spoilt, which is no better.
        fixed_targets = is_classification(seen)
        yield self.finding(
            place_to_location(first_place(use.place for use in seen.optimizers), seen),
            f"the loss rises from {figure(first)} to {figure(last)} in {convergence.steps} steps",
            help="divide the learning rate by 10, warm it up, and clip the gradient norm; check "
            "the sign of the loss",
            severity=Severity.ERROR if blown_up or fixed_targets else Severity.WARNING,
            evidence=measured_evidence(
                f"loss after {convergence.steps} steps, from {figure(first)}",
                quantity="loss",
                value=last,
                expected=f"below {figure(first)}",
            ),
        )

    def reading(self, seen: Observations) -> str | None:
        """Where the loss began and where it got to."""
        span = first_and_last(seen)
        steps = len(finite(seen.series.loss))
        if span is None or steps < STEPS or has_moving_objective(seen):
            return None
        first, last = span
        return f"the loss went from {figure(first)} to {figure(last)} in {steps} steps"
