"""LOG006: the training loss went up for good, or is no number any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns.figures import figure
from convlint.rules.patterns.logs import at, logged_evidence, step, training_losses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.curves.facts import Curve, Curves


class DivergedCurve(Rule):
    """The training loss rose for good, or is not finite any more.

    ## What it does
    Reports a loss that is NaN or infinite from some step to the end, and a training loss that rose
    above its start, was thrown off, or lost half of what it had gained and keeps rising.

    ## Why it hurts
    The parameters are ruined; nothing after that step is worth its cost.

    ## Example
        for step in range(40):
            print(f"step {step} loss: {2.0 * 1.1**step:.4f}")

    ## Use instead
        for step in range(40):
            print(f"step {step} loss: {2.0 * 0.9**step:.4f}")

    ## When it is fine
    A learning rate that is raised again (warm restarts) lifts the loss for a while; in such a log
    only a loss above its start is reported. Losses of a game between networks, and of
    reinforcement learning, may rise; only values that are not finite are reported there. A range test
    of the learning rate ends in divergence on purpose: see `range-test`.

    ## Measured
    `diverging-loss` and `non-finite` are the same in a short run.

    ## References
    - Goodfellow, Bengio, Courville, Deep Learning, 2016, chapters 8.2.4 and 10.11
    """

    code, slug, severity = "LOG006", "diverged-curve", Severity.ERROR
    twins = ("diverging-loss",)

    def logged(self, curves: Curves) -> Iterator[Finding]:
        """One finding for each loss."""
        if curves.range_test is not None:
            return
        losses = [loss for loss in curves.curves if loss.quantity == "loss"]
        # Without a training loss, that of validation must do.
        shown = [loss for loss in losses if loss.split == "train"] or losses
        lost = [loss for loss in shown if loss.lost_from is not None]
        for loss in lost:
            yield self.finding(
                at(curves, loss.lost_line),
                f"{loss.name} is not finite from step {step(loss.lost_from or 0.0)} to the end",
                help="go back to a checkpoint before that step; lower the learning rate, clip "
                "gradients, and look for logarithms, divisions and float16 overflow",
                evidence=logged_evidence(
                    f"values of {loss.name} that are not finite",
                    quantity="values",
                    value=float(loss.lost),
                    expected="0",
                ),
            )
        for loss in training_losses(curves):
            if loss in lost or loss.kind != "diverging" or (curves.restarts and not _above(loss)):
                continue
            yield self.finding(
                at(curves, loss.first_line),
                f"{loss.name} diverges: {loss.note or 'it keeps rising'}",
                help="lower the learning rate, by a factor of 3 to 10, warm it up, or clip gradients",
                evidence=logged_evidence(
                    f"{loss.name} at the end, from {figure(loss.first)}",
                    quantity="loss",
                    value=loss.last,
                    expected=f"below {figure(loss.first)}",
                ),
            )


def _above(loss: Curve) -> bool:
    return loss.first is not None and loss.last is not None and loss.last > loss.first
