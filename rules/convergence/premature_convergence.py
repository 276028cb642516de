"""CVG008: progress stopped because the learning rate ran out, not because the gradient did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns.figures import figure, finite, measured_evidence, middle
from convlint.rules.patterns.logs import at, logged_evidence, main_loss, step
from convlint.rules.patterns.loss_series import loss_place
from convlint.rules.patterns.places import place_to_location
from convlint.rules.patterns.runs import has_moving_objective

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.curves.facts import Curve, Curves
    from convlint.gpu_probes.observations import Observations

SHARE = 0.5
"""Part of the run that must be flat; step schedules spend a third at their lowest rate."""
RATE_LEFT = 0.01
"""Share of the highest learning rate below which steps hardly move the parameters."""
GRADIENT_LEFT = 0.3
"""Share of its first level above which the gradient has not vanished."""
STOPPED = "stopped by the learning rate"
"""What the loss is said to be when it stands still, the rate gone and the gradient not."""
FEWEST = 15
"""Steps of the flat half: fewer are a pause."""


class PrematureConvergence(Rule):
    """The loss stopped falling when the learning rate had decayed, with the gradient still there.

    ## What it does
    Reports a log, or a probed run, in which the training loss is flat for half of the run or more,
    the learning rate was below 1 % of its highest from there on, and the gradient norm has kept
    30 % of its first level.

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
    `convlint probe` reports it where the loss of its real steps ends flat while, for their later
    half, the rate was below 1 % of its highest and the gradient norm has kept 30 % of its first
    level. `lr-schedule-collapses` is the schedule itself, stepped ahead.

    ## References
    - Robbins, Monro, A stochastic approximation method, 1951
    """

    code, slug, severity = "CVG008", "premature-convergence", Severity.WARNING
    twins = ("lr-schedule-collapses",)
    explained_by = ("SCH",)

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """One finding for the run; none where a loss, rate or gradient norm is missing."""
        course = seen.convergence
        if course is None or course.standing != STOPPED or has_moving_objective(seen):
            return
        ends = _ends(seen)
        if ends is None:
            return
        half, highest, left, first, last = ends
        losses = finite(seen.series.loss)
        if half < FEWEST or left > RATE_LEFT * highest or last < GRADIENT_LEFT * first:
            return
        level = middle(losses[half:])
        yield self.finding(
            place_to_location(loss_place(seen), seen),
            f"the loss is flat at {figure(level)} since step {half + 1} of {len(losses)}, where the "
            f"learning rate had come down to {figure(left)} from {figure(highest)}; the gradient "
            f"norm is still {figure(last)}",
            help="let the learning rate decay over the whole run, or put a floor under it",
            evidence=measured_evidence(
                "learning rate since the loss is flat, over its highest",
                quantity="share",
                value=left / highest,
                expected=f"above {RATE_LEFT:g} while the gradient has not vanished",
            ),
        )

    def reading(self, seen: Observations) -> str | None:
        """What is left of the rate and of the gradient in the later half of the run."""
        ends = _ends(seen)
        if ends is None or ends[0] < FEWEST:
            return None
        _, highest, left, first, last = ends
        return (
            f"over the later half the learning rate is at {left / highest:.0%} of its highest and "
            f"the gradient norm at {last / first:.0%} of its first level"
        )

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


def _ends(seen: Observations) -> tuple[int, float, float, float, float] | None:
    """The step of the half, the highest rate of the run and of its later half, the gradient norm
    at first and over the later half; None where a loss, rate or norm is missing."""
    rates, norms = finite(seen.series.learning_rate), finite(seen.series.gradient_norm)
    losses = finite(seen.series.loss)
    if not losses or not len(rates) == len(norms) == len(losses) == len(seen.series.loss):
        return None
    half = len(rates) // 2
    first, last = middle(norms[: max(3, half // 5)]), middle(norms[half:])
    if max(rates) <= 0.0 or first <= 0.0:
        return None
    return half, max(rates), max(rates[half:]), first, last


def _after(curve: Curve, start: float) -> float | None:
    """The highest value from step ``start`` on, of those kept for a plot."""
    span = curve.last_step - curve.first_step
    if span <= 0.0:
        return None
    share = min(max((start - curve.first_step) / span, 0.0), 1.0)
    first = min(int(share * len(curve.shape)) + 1, len(curve.shape) - 1)
    return max(curve.shape[first:])
