"""LOG003: the training loss swings instead of settling."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns.figures import figure
from convlint.rules.patterns.logs import at, logged_evidence, step, training_losses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.curves.facts import Curves


class OscillatingCurve(Rule):
    """The training loss swings up and down instead of coming down.

    ## What it does
    Reports a training loss with a lasting periodic swing that is large beside what the run gained
    (Fisher's g-test), or that jumps wildly without progress.

    ## Why it hurts
    The steps are too long for the curvature, or successive parts of the data pull in different
    directions: every step undoes part of the one before.

    ## Example
        for step in range(120):
            swing = 0.8 * min(step / 20, 1.0) * (-1) ** step
            print(f"step {step} loss: {2.0 + swing:.4f}")

    ## Use instead
        for step in range(120):
            print(f"step {step} loss: {2.0 * 0.97**step:.4f}")

    ## When it is fine
    A cyclic learning rate makes the loss swing on purpose; a log whose learning rate rises again is
    not judged. Small swings from epoch to epoch, beside steady progress, are none. Losses of two to
    four tasks or networks that take turns under one name are judged apart; a swing of such a period
    that did not grow from a smaller one may be theirs, and is left open.

    ## Measured
    `oscillating-loss` is the same in a short run; `learning-rate-above-stability` its usual cause.

    ## References
    - Fisher, Tests of significance in harmonic analysis, 1929
    - Cohen et al., Gradient descent on neural networks typically occurs at the edge of stability,
      ICLR 2021
    """

    code, slug, severity = "LOG003", "oscillating-curve", Severity.WARNING
    twins = ("oscillating-loss",)

    def logged(self, curves: Curves) -> Iterator[Finding]:
        """One finding for each training loss."""
        if curves.restarts:
            return
        for loss in training_losses(curves):
            if loss.kind != "oscillating":
                continue
            cycle = loss.cycle
            yield self.finding(
                at(curves, loss.first_line),
                f"{loss.name}: {loss.note}"
                if cycle is None or "period" not in loss.note
                else f"{loss.name} swings by ±{figure(cycle.amplitude)} about every "
                f"{step(round(cycle.period, 1))} steps",
                help="lower the learning rate, by a factor of 3 to 10; shuffle the data; enlarge the "
                "batch",
                evidence=logged_evidence(
                    f"{loss.name} at the end, from {figure(loss.first)}",
                    quantity="loss",
                    value=loss.last,
                ),
            )
