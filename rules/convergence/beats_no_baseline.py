"""CVG009: the model never does better than a constant prediction."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.predictions import Prediction
from convlint.rules import Rule
from convlint.rules.patterns.figures import figure, measured_evidence
from convlint.rules.patterns.loss_series import (
    levels,
    loss_place,
    steps_observed,
)
from convlint.rules.patterns.places import place_to_location
from convlint.rules.patterns.runs import has_moving_objective, is_classification, is_warming_up

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.gpu_probes.observations import Observations

STEPS = 50
"""Learning the label frequencies takes a few dozen steps by itself."""
FAR = 2.0
"""Times the constant predictor's loss. A regression so far above it has still to learn the offset
of its targets, which takes time and is no fault of the wiring."""
NOISE_ERRORS = 3.0
"""Standard errors of a level that a comparison must exceed."""


class BeatsNoBaseline(Rule):
    """After the short run the loss is still not below that of a constant prediction.

    ## What it does
    Compares the level of the loss in the last quarter of the run with the loss of the best
    prediction that ignores the input.

    ## Why it hurts
    Whatever the optimizer did, nothing was learnt from the inputs: they do not reach the output,
    do not belong to the labels, or the steps are too large to keep anything.

    ## Example
        loss = F.cross_entropy(model(x), y[torch.randperm(len(y))])

    ## Use instead
        loss = F.cross_entropy(model(x), y)

    ## When it is fine
    A loss that still falls, a warm-up, several optimizers, moving targets, and sums of several
    losses are not judged; a loss that stands still from the start is `stalled-loss`; a regression
    far above the constant predictor, which has an offset to learn first, is a note.

    ## Measured
    Level of the last quarter at or above the constant predictor, not falling since the second
    quarter, over at least 50 steps.

    ## References
    - Karpathy, A recipe for training neural networks, 2019 (input-independent baseline)
    """

    code, slug, severity = "CVG009", "beats-no-baseline", Severity.WARNING
    prediction = Prediction("loss", "at least", "that of the best constant prediction")
    measurements = ("steps", "initial loss")
    explained_by = ("LOP", "LOS", "NRM", "AMP", "DAT", "SCH", "FLO", "CRV", "initial-loss-off")

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """One finding for the run."""
        baseline, quarters = _baseline(seen), levels(seen)
        if baseline is None or not quarters or _said_elsewhere(seen):
            return
        second, last = quarters[1], quarters[-1]
        error = _level_error(seen)
        if last < baseline or last < second - NOISE_ERRORS * error:
            return
        travelling = not is_classification(seen) and last > FAR * baseline
        yield self.finding(
            place_to_location(loss_place(seen), seen),
            f"after {steps_observed(seen)} steps the loss is {figure(last)}, not below the "
            f"{figure(baseline)} of a constant prediction, and no longer falling",
            help="standardise the targets, so that no steps are spent on their offset"
            if travelling
            else "check that inputs and labels belong together and that the inputs reach the "
            "output; then lower the learning rate",
            severity=Severity.INFO if travelling else self.severity,
            evidence=measured_evidence(
                "median loss of the last quarter of the run",
                quantity="loss",
                value=last,
                expected=f"below {figure(baseline)}",
            ),
        )

    def reading(self, seen: Observations) -> str | None:
        """The loss reached beside the constant predictor's."""
        baseline, quarters = _baseline(seen), levels(seen)
        if baseline is None or not quarters:
            return None
        return f"the loss reaches {figure(quarters[-1])}; a constant prediction gives {figure(baseline)}"


def _baseline(seen: Observations) -> float | None:
    """The constant predictor's loss, when the series can be compared with it."""
    if (
        seen.baseline is None
        or steps_observed(seen) < STEPS
        or has_moving_objective(seen)
        or is_warming_up(seen)
    ):
        return None
    return seen.baseline.value


def _said_elsewhere(seen: Observations) -> bool:
    return seen.convergence is not None and seen.convergence.kind in ("stalled", "diverging")


def _level_error(seen: Observations) -> float:
    noise = seen.convergence.noise if seen.convergence is not None else None
    return (noise or 0.0) / math.sqrt(max(1.0, steps_observed(seen) / 4))
