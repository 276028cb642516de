"""CVG004: the loss stays where it began."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.predictions import Prediction
from convlint.rules import Rule
from convlint.rules.patterns.figures import figure, measured_evidence
from convlint.rules.patterns.loss_series import first_and_last, loss_place, steps_observed
from convlint.rules.patterns.places import place_to_location
from convlint.rules.patterns.runs import has_moving_objective, is_warming_up, knows_already

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.gpu_probes.observations import Observations

STEPS = 50
"""Shorter runs of noisy mini-batches cannot tell standing still from a slow start."""
PROGRESS = 0.05
"""Share of the first loss. A run that gained more and then rests has learnt something; a plateau
may end by itself, so it is a note."""
AT_BASELINE = 0.97
"""Share of the constant predictor's loss: a run that came down to it and rests there has learnt
the label frequencies and nothing from the inputs."""
SOLVED = 0.1
"""A loss below a tenth of the constant predictor's has nowhere to go: standing still is success."""

MEETINGS = 2
"""Times a class must be met on average before what was learnt of it can show: a hundred single
samples of a hundred classes are a hundred first meetings."""


class StalledLoss(Rule):
    """The training loss does not move from where it began.

    ## What it does
    Reads the class the convergence fit gave to the loss series: no trend over the second half
    that stands out from the noise.

    ## Why it hurts
    The parameters receive no useful gradient (dead or saturated units, a detached loss), or the
    learning rate is orders of magnitude too small or too large.

    ## Example
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-8)

    ## Use instead
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

    ## When it is fine
    During warm-up, for a pre-trained model, with several optimizers, against targets that training
    moves (reinforcement learning, a target network), or when the loss is already near zero.

    ## Measured
    Kind `stalled` over at least 50 steps; warning when less than 5 % of the first loss was gained
    or the loss rests at that of a constant prediction, else info. Info as well after fewer than two
    samples per class.

    ## References
    - Sen, Estimates of the regression coefficient based on Kendall's tau, JASA 1968
    """

    code, slug, severity = "CVG004", "stalled-loss", Severity.WARNING
    prediction = Prediction("loss", "is", "stalled over enough steps")
    measurements = ("steps",)
    explained_by = (
        "LOP",
        "LOS",
        "NRM",
        "AMP",
        "DAT",
        "SCH",
        "vanishing-gradient",
        "dead-units",
        "symmetric-init",
        "parameter-without-gradient",
        "parameter-not-optimized",
        "update-ratio-too-large",
    )

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """One finding for the run."""
        convergence, span = seen.convergence, first_and_last(seen)
        if convergence is None or span is None or not _can_judge(seen):
            return
        first, last = span
        if convergence.kind != "stalled" or last <= _solved(seen, first):
            return
        moved = first - last >= PROGRESS * abs(first) and not _at_baseline(seen, last)
        noted = moved or _met_few_samples(seen)
        yield self.finding(
            place_to_location(loss_place(seen), seen),
            f"the loss stands still: {figure(first)} at first, {figure(last)} after "
            f"{convergence.steps} steps" + _beside_baseline(seen),
            help="check that gradients reach the parameters and that the learning rate is neither "
            "orders of magnitude too small nor too large",
            severity=Severity.INFO if noted else self.severity,
            evidence=measured_evidence(
                f"loss after {convergence.steps} steps, from {figure(first)}",
                quantity="loss",
                value=last,
                expected=f"below {figure((1 - PROGRESS) * first)}",
            ),
        )

    def reading(self, seen: Observations) -> str | None:
        """What the loss gained."""
        span = first_and_last(seen)
        if span is None or not _can_judge(seen):
            return None
        first, last = span
        return f"the loss went from {figure(first)} to {figure(last)}"


def _can_judge(seen: Observations) -> bool:
    return (
        seen.convergence is not None
        and seen.convergence.steps >= STEPS
        and not has_moving_objective(seen)
        and not is_warming_up(seen)
        and not knows_already(seen)
    )


def _at_baseline(seen: Observations, last: float) -> bool:
    baseline = seen.baseline.value if seen.baseline is not None else None
    return baseline is not None and last >= AT_BASELINE * baseline


def _met_few_samples(seen: Observations) -> bool:
    """Whether the run was too short for its classes to be met more than once or twice."""
    return any(
        loss.back_propagated
        and loss.classes is not None
        and loss.calls > 0
        and loss.initial.n / loss.calls * steps_observed(seen) < MEETINGS * loss.classes
        for loss in seen.losses
    )


def _solved(seen: Observations, first: float) -> float:
    baseline = seen.baseline.value if seen.baseline is not None else None
    return SOLVED * abs(baseline if baseline is not None else first)


def _beside_baseline(seen: Observations) -> str:
    if seen.baseline is None or seen.baseline.value is None:
        return ""
    return f" (a constant prediction gives {figure(seen.baseline.value)})"
