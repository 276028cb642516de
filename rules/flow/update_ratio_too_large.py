"""FLO009: each step rewrites a large part of the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.predictions import Prediction
from convlint.rules import Rule
from convlint.rules.patterns.figures import figure, finite, measured_evidence, names
from convlint.rules.patterns.places import place_to_location
from convlint.rules.patterns.runs import improves
from convlint.rules.patterns.updates import judged_updates, optimizer_place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.gpu_probes.observations import Observations, UpdateRatio

SUSTAINED = 0.3
"""Norm of the step over norm of the weight, reached in five steps on end. Healthy runs show 1e-4
to 1e-2. A small initial weight that grows by equal steps shows 1, 1/2, 1/3 ... 1/5 and stays
below; only weights thrown about stay above."""
THROWN = 0.1
"""The same, for a run whose loss the first steps threw up: growing weights do not raise the loss,
so a smaller ratio is enough to name the step as the cause."""
THROWN_LOSS = 10.0
"""Times the first loss. Warm-up-free healthy runs overshoot by a factor of 2 at most."""
THROWN_STEPS = 10
"""First steps in which the loss is looked at."""


class UpdateRatioTooLarge(Rule):
    """Every step changes the weights by a large part of their size.

    ## What it does
    Follows, for each weight, the norm of the optimizer's step over the norm of the weight.

    ## Why it hurts
    After three steps nothing is left of what was learnt before; the loss jumps about or settles at
    the constant predictor. The learning rate is too large for these weights.

    ## Example
        optimizer = torch.optim.Adam(model.parameters(), lr=0.5)

    ## Use instead
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    ## When it is fine
    Biases, scales of normalisation layers and weights that start at zero are left out; with a line
    search (LBFGS) nothing is judged.

    ## Measured
    A ratio above 0.3 in five steps on end, or above 0.1 when the first ten steps threw the loss to
    more than ten times its first value. Error unless the loss goes down all the same.

    ## References
    - Karpathy, A recipe for training neural networks, 2019 (ratio of updates near 1e-3)
    """

    code, slug, severity = "FLO009", "update-ratio-too-large", Severity.ERROR
    prediction = Prediction("update ratio", "above", THROWN)
    measurements = ("update ratio",)
    explained_by = ("LOP", "unnormalized-input", "learning-rate-above-stability")

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """One finding per optimizer whose steps are too large."""
        judged = judged_updates(seen)
        bound = THROWN if _is_thrown(seen) else SUSTAINED
        for optimizer in sorted({update.optimizer for update in judged}):
            mine = [update for update in judged if update.optimizer == optimizer]
            large = [update for update in mine if _sustained(update) > bound]
            if not large:
                continue
            worst = max(large, key=_sustained)
            yield self.finding(
                place_to_location(optimizer_place(optimizer, seen, worst.place), seen),
                f"steps rewrite the weights: {worst.name} changed by {figure(worst.largest)} of "
                f"its norm in each of five steps on end ({len(large)} of {len(mine)} weights: "
                f"{names([update.name for update in large])})",
                help=f"divide the learning rate by about {figure(_reduction(worst))}; healthy "
                "steps change a weight by 1e-4 to 1e-2 of its norm",
                severity=Severity.WARNING if improves(seen) else self.severity,
                evidence=measured_evidence(
                    f"norm of the step over the norm of {worst.name}, least of five steps on end",
                    quantity="update ratio",
                    value=worst.largest,
                    expected="1e-4 to 1e-2",
                ),
            )

    def reading(self, seen: Observations) -> str | None:
        """The largest sustained ratio."""
        judged = [update for update in judged_updates(seen) if update.largest is not None]
        if not judged:
            return None
        worst = max(judged, key=_sustained)
        return f"no weight changes by more than {figure(worst.largest)} of its norm per step"


HEALTHY = 1e-2
"""The upper end of the healthy range, which the advised learning rate should reach."""


def _is_thrown(seen: Observations) -> bool:
    losses = finite(seen.series.loss[:THROWN_STEPS])
    return bool(losses) and max(losses) > THROWN_LOSS * abs(losses[0])


def _sustained(update: UpdateRatio) -> float:
    return update.largest or 0.0


def _reduction(update: UpdateRatio) -> float:
    return max(10.0, _sustained(update) / HEALTHY)
