"""CVG006: the model cannot learn a single batch by heart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns.figures import figure, measured_evidence, share
from convlint.rules.patterns.loss_series import loss_place
from convlint.rules.patterns.places import place_to_location

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.gpu_probes.observations import Observations, OverfitAttempt, OverfitOneBatch

REMAINING = 0.4
"""Share of the excess loss left by the best of four optimizers. Softmax fed into cross-entropy
leaves two thirds of it with ten classes, outputs cut off from the input all above the label
frequencies; slow but healthy models come below within 200 steps."""
CAPACITY = 5
"""Parameters per element to be learnt below which a model may honestly be too small."""


class CannotOverfitBatch(Rule):
    """The model cannot learn a single batch by heart.

    ## What it does
    Trains on one recorded batch alone, without dropout: with the script's own optimizer, and where
    that fails with Adam at three learning rates. Reports when none of them gets rid of most of
    the loss although the model has parameters in plenty.

    ## Why it hurts
    Learning one batch is easier than learning the data. What stands in the way is in the wiring:
    outputs that do not depend on the inputs, a loss that cannot become small, parameters that
    do not train.

    ## Example
        loss = F.cross_entropy(model(x).softmax(dim=1), y)

    ## Use instead
        loss = F.cross_entropy(model(x), y)

    ## When it is fine
    Models with few parameters for the size of their batch, losses whose smallest value depends on
    the targets, several optimizers, and attempts that were cut short or whose loss still falls are
    not judged. A batch that Adam learns and the script's own optimizer does not is a note.

    ## Measured
    At least 40 % of the distance between the first and the smallest possible loss are left at the
    lowest loss of every attempt, with at least 5 parameters per element of the targets.

    ## References
    - Karpathy, A recipe for training neural networks, 2019 (overfit one batch)
    - Schoop, Huang and Hartmann, UMLAUT: debugging deep learning programs using program structure
      and model behavior, CHI 2021
    """

    code, slug, severity = "CVG006", "cannot-overfit-batch", Severity.WARNING
    measurements = ("overfit one batch", "steps")
    explained_by = ("LOP", "LOS", "NRM", "AMP", "DAT", "INI", "OPT", "FLO", "initial-loss-off")

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """One finding for the run."""
        tried = seen.overfit
        if tried is None or not _large_enough(tried):
            return
        best = _best(tried)
        if tried.outcome == "does not fit" and best.excess >= REMAINING:
            yield self.finding(
                place_to_location(loss_place(seen), seen),
                f"{tried.planned} steps on one single batch leave {share(best.excess)} of its "
                f"loss, with {_names(tried)}",
                help="look for what cuts the outputs off from the inputs or keeps the loss up: a "
                "softmax or sigmoid before the loss, detached or frozen parts, labels of other "
                "samples",
                evidence=measured_evidence(
                    "share of the loss of one batch left after training on it alone",
                    quantity="excess loss",
                    value=best.excess,
                    expected="near 0",
                ),
            )
        elif tried.outcome == "fits with another optimizer" and not tried.attempts[0].falling:
            own = tried.attempts[0]
            yield self.finding(
                place_to_location(loss_place(seen), seen),
                f"{_named(own)} leaves {share(own.excess)} of the loss of one single batch after "
                f"{own.steps} steps; {_named(best)} learns it in {best.steps}",
                help=f"try {_named(best)}, or another learning rate for {own.optimizer}",
                severity=Severity.INFO,
            )

    def reading(self, seen: Observations) -> str | None:
        """How one batch was learnt."""
        tried = seen.overfit
        if tried is None or tried.outcome == "undetermined":
            return None
        best = _best(tried)
        return (
            f"{_named(best)} leaves {share(best.excess)} of the loss of one batch after "
            f"{figure(best.steps)} steps"
        )


def _large_enough(tried: OverfitOneBatch) -> bool:
    if tried.parameters is None or not tried.targets:
        return False
    return tried.parameters >= CAPACITY * tried.targets


def _best(tried: OverfitOneBatch) -> OverfitAttempt:
    return min(tried.attempts, key=lambda attempt: attempt.excess)


def _named(attempt: OverfitAttempt) -> str:
    if attempt.learning_rate is None:
        return attempt.optimizer
    return f"{attempt.optimizer} at {figure(attempt.learning_rate)}"


def _names(tried: OverfitOneBatch) -> str:
    return ", ".join(_named(attempt) for attempt in tried.attempts)
