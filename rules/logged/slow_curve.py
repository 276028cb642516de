"""LOG004: at this pace the run ends long before the loss is down."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns.figures import figure
from convlint.rules.patterns.logs import at, logged_evidence, step, training_losses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.curves.facts import Curves

PLAIN = "give --total-steps to have it judged by the plan"


class SlowCurve(Rule):
    """The training loss falls, but at this pace it will not get anywhere within the run.

    ## What it does
    Reports a training loss that would take longer than the planned steps to come down by half.
    The plan is `--total-steps`, or what the log itself says (`max_steps` of a trainer_state.json).

    ## Why it hurts
    The budget is spent before the model is trained; usually the learning rate is too small.

    ## Example
        for step in range(200):
            print(f"step {step} loss: {2.3 * 0.9999**step:.6f}")

    ## Use instead
        for step in range(200):
            print(f"step {step} loss: {2.3 * 0.98**step:.6f}")

    ## When it is fine
    Late in a long run, and for pre-trained models, a loss falls by little in many steps. Without a
    plan this is therefore a note.

    ## Measured
    `slow-convergence` is the same in a short run.

    ## References
    - Sen, Estimates of the regression coefficient based on Kendall's tau, JASA 1968
    """

    code, slug, severity = "LOG004", "slow-curve", Severity.WARNING
    twins = ("slow-convergence",)

    def logged(self, curves: Curves) -> Iterator[Finding]:
        """One finding for each training loss."""
        for loss in training_losses(curves):
            if loss.kind != "slow" or loss.first is None or loss.last is None:
                continue
            planned = curves.planned_steps
            plan = f"; {step(planned)} are planned" if planned is not None else f"; {PLAIN}"
            yield self.finding(
                at(curves, loss.first_line),
                f"{loss.name} went from {figure(loss.first)} to {figure(loss.last)} in "
                f"{step(loss.last_step - loss.first_step)} steps{plan}",
                help="raise the learning rate (`convlint probe` measures how far it may go), or "
                "shorten its warm-up",
                severity=None if planned is not None else Severity.INFO,
                evidence=logged_evidence(
                    f"{loss.name} at the end, from {figure(loss.first)}",
                    quantity="loss",
                    value=loss.last,
                    expected=f"below {figure(0.5 * loss.first)} by the end of the run",
                ),
            )
