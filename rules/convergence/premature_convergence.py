"""CVG008: progress stopped because the learning rate ran out, not because the gradient did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns.figures import figure
from convlint.rules.patterns.logs import at, logged_evidence, main_loss, step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.curves.facts import Curve, Curves

SHARE = 0.5
"""Part of the run that must be flat; step schedules spend a third at their lowest rate."""
RATE_LEFT = 0.01
"""Share of the highest learning rate below which steps hardly move the parameters."""
GRADIENT_LEFT = 0.3
"""Share of its first level above which the gradient has not vanished."""


class PrematureConvergence(Rule):
    """The loss stopped falling when the learning rate had decayed, with the gradient still there.

    ## What it does
    Reports a log in which the training loss is flat for half of the run or more, the learning rate
    was below 1 % of its highest from there on, and the gradient norm has kept 30 % of its first
    level.

    ## Why it hurts
    The run did not converge, it was brought to a halt: with a longer schedule, or a floor under the
    rate, the loss would have gone on falling.

    ## Example
        for step in range(200):
            rate = 0.1 * 0.9**step
            loss = 1.0 + 1.3 * max(rate, 1e-4) ** 0.5
            print(f"step {step} loss: {loss:.4f} lr: {rate:.3g} grad_norm: {0.8 + 0.01 * (step % 5):.3f}")

    ## Use instead
        for step in range(200):
            rate = 0.1 * 0.99**step
            loss = 0.2 + 2.0 * 0.98**step
            print(f"step {step} loss: {loss:.4f} lr: {rate:.3g} grad_norm: {0.98**step:.3f}")

    ## When it is fine
    At the end of a schedule the rate is small and the loss flat in any run; half of the run is not
    its end. Without a gradient norm in the log nothing is said.

    ## Measured
    `lr-schedule-collapses` is the schedule itself, stepped ahead by `convlint probe`.

    ## References
    - Robbins, Monro, A stochastic approximation method, 1951
    """

    code, slug, severity = "CVG008", "premature-convergence", Severity.WARNING

    def logged(self, curves: Curves) -> Iterator[Finding]:
        """One finding for the log."""
        loss = main_loss(curves)
        if loss is None or loss.plateau is None or loss.plateau.share < SHARE:
            return
        rates = [c for c in curves.curves if c.quantity == "learning rate" and c.shape]
        norms = [c for c in curves.curves if c.quantity == "gradient norm"]
        if len(rates) != 1 or len(norms) != 1 or curves.restarts:
            return
        rate, norm = rates[0], norms[0]
        left = _after(rate, loss.plateau.start)
        highest = rate.highest or 0.0
        if highest <= 0.0 or left is None or left > RATE_LEFT * highest:
            return
        if norm.first is None or norm.last is None or norm.last < GRADIENT_LEFT * norm.first:
            return
        yield self.finding(
            at(curves, loss.plateau.line),
            f"{loss.name} is flat at {figure(loss.plateau.level)} since step "
            f"{step(loss.plateau.start)}, where {rate.name} had come down to {figure(left)} from "
            f"{figure(highest)}; {norm.name} is still {figure(norm.last)}",
            help="let the learning rate decay over the whole run, or put a floor under it",
            evidence=logged_evidence(
                f"{rate.name} since the loss is flat, over its highest",
                quantity="share",
                value=left / highest,
                expected=f"above {RATE_LEFT:g} while the gradient has not vanished",
            ),
        )


def _after(curve: Curve, start: float) -> float | None:
    """The highest value from step ``start`` on, of those kept for a plot."""
    span = curve.last_step - curve.first_step
    if span <= 0.0:
        return None
    share = min(max((start - curve.first_step) / span, 0.0), 1.0)
    first = min(int(share * len(curve.shape)) + 1, len(curve.shape) - 1)
    return max(curve.shape[first:])
