"""FLO010: the steps leave the weights where they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.predictions import Prediction
from convlint.rules import Rule
from convlint.rules.patterns.figures import figure, measured_evidence, middle, surely_below
from convlint.rules.patterns.places import place_to_location
from convlint.rules.patterns.runs import is_warming_up, knows_already
from convlint.rules.patterns.updates import judged_updates, optimizer_place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.gpu_probes.observations import Observations

RATIO = 1e-6
"""Median norm of the step over norm of the weight: a million steps to change the weight by its own
size, and near the spacing of float32 numbers (1.2e-7). Fine-tuning with Adam at 1e-6 is at 5e-5."""
STEPS = 20
"""Fewer steps may all lie within a warm-up that has not shown itself yet."""
MOST = 0.5
"""Half of the weights of an optimizer must stand still: single layers that do are the business of
vanishing-gradient and dead-units."""


class UpdateRatioTooSmall(Rule):
    """The optimizer's steps are too small to change the weights.

    ## What it does
    Follows, for each weight, the norm of the optimizer's step over the norm of the weight.

    ## Why it hurts
    The run spends its whole budget where it started: the learning rate is orders of magnitude too
    small, has decayed to nothing, or the gradient is tiny.

    ## Example
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-9)

    ## Use instead
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

    ## When it is fine
    A learning rate that is being warmed up, a pre-trained model, a group with learning rate 0, a
    loss that goes down all the same.

    ## Measured
    A median ratio below 1e-6 over at least 20 steps, for at least half of an optimizer's weights.
    Error when the loss stands still as well: the run does not train.

    ## References
    - Karpathy, A recipe for training neural networks, 2019 (ratio of updates near 1e-3)
    """

    code, slug, severity = "FLO010", "update-ratio-too-small", Severity.WARNING
    prediction = Prediction("update ratio", "below", RATIO)
    measurements = ("update ratio",)
    explained_by = ("LOP", "SCH", "AMP", "dead-units", "parameter-without-gradient")

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """One finding per optimizer whose weights stand still."""
        converging = seen.convergence is not None and seen.convergence.kind == "converging"
        if is_warming_up(seen) or knows_already(seen) or converging:
            return
        stalled = seen.convergence is not None and seen.convergence.kind == "stalled"
        judged = [update for update in judged_updates(seen) if update.ratio.n >= STEPS]
        for use in seen.optimizers:
            if any(group.learning_rate == 0 for group in use.groups):
                continue
            mine = [update for update in judged if update.optimizer == use.id]
            still = [update for update in mine if surely_below(update.ratio, RATIO)]
            if not mine or len(still) < MOST * len(mine):
                continue
            typical = middle([update.ratio.value or 0.0 for update in still])
            rates = sorted({group.learning_rate or 0.0 for group in use.groups})
            yield self.finding(
                place_to_location(optimizer_place(use.id, seen), seen),
                f"the steps leave the weights where they are: {len(still)} of {len(mine)} weights "
                f"change by {figure(typical)} of their norm per step at learning rate "
                f"{figure(rates[-1])}",
                help="raise the learning rate by factors of 10 until steps change a weight by "
                "about 1e-3 of its norm",
                severity=Severity.ERROR if stalled else self.severity,
                evidence=measured_evidence(
                    "median norm of the step over the norm of the weight",
                    quantity="update ratio",
                    value=typical,
                    expected="1e-4 to 1e-2",
                ),
            )

    def reading(self, seen: Observations) -> str | None:
        """The typical ratio over all weights."""
        ratios = [
            update.ratio.value
            for update in judged_updates(seen)
            if update.ratio.value is not None and update.ratio.n >= STEPS
        ]
        if not ratios:
            return None
        return f"a typical weight changes by {figure(middle(ratios))} of its norm per step"
