"""LOG005: the loss has been flat for a good part of the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns.figures import figure
from convlint.rules.patterns.logs import at, logged_evidence, step, training_losses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.curves.facts import Curve, Curves, Pair

SHARE = 0.35
"""Part of the run that must be flat: after the last drop of a schedule a quarter often is."""
LATE = 0.2
"""A score whose best lies in this last part of the run still improves."""
GAINED = 0.1
"""A loss that never gained a tenth of its start has not reached a plateau but never left one."""


class PlateauReached(Rule):
    """The loss has come down and has been flat for a good part of the run: it can stop.

    ## What it does
    Notes where a loss became flat: over the rest of the log, a third of it at least, no fall of
    more than 1 % of the progress made, or of what its noise could hide. The validation loss
    decides, where there is one.

    ## Why it hurts
    Steps on a plateau cost as much as any and gain nothing.

    ## Example
        for step in range(200):
            print(f"step {step} loss: {0.3 + 2.0 * 0.9**step:.6f}")

    ## Use instead
        for step in range(30):
            print(f"step {step} loss: {0.3 + 2.0 * 0.9**step:.6f}")

    ## When it is fine
    Where a drop of the learning rate is still to come: a plateau at one rate is often left at the
    next. A loss can also stand still for long before it finds structure (grokking).

    ## Measured
    Read by `convlint curves`; `ConvergenceMonitor` says it while the run goes on.

    ## References
    - Sen, Estimates of the regression coefficient based on Kendall's tau, JASA 1968
    """

    code, slug, severity = "LOG005", "plateau-reached", Severity.INFO

    def logged(self, curves: Curves) -> Iterator[Finding]:
        """One finding for the log."""
        training = training_losses(curves)
        validation = curves.judged_losses("validation")
        judged = validation if training and validation else training
        for loss in judged[:1]:
            flat = loss.plateau
            if flat is None or flat.share < SHARE or not _came_down(loss):
                continue
            if loss.kind in ("diverging", "oscillating") or _still_falling(training):
                continue
            if any(
                pair.validation == loss.name and _score_improves(pair, loss)
                for pair in curves.pairs
            ):
                continue
            yield self.finding(
                at(curves, flat.line),
                f"{loss.name} is flat at {figure(flat.level)} since step {step(flat.start)}, "
                f"{100 * flat.share:.0f} % of the run",
                help="stop, or change something: a lower learning rate, if the schedule has one left",
                evidence=logged_evidence(
                    f"largest fall of {loss.name} since then that the noise allows",
                    quantity="loss",
                    value=flat.most,
                ),
            )


def _came_down(loss: Curve) -> bool:
    return (
        loss.first is not None
        and loss.plateau is not None
        # Not the lowest value, which is that of the noise.
        and loss.first - loss.plateau.level > GAINED * abs(loss.first)
    )


def _score_improves(pair: Pair, loss: Curve) -> bool:
    """Whether a validation score was best in the last fifth: something is still learnt."""
    if pair.score_best_step is None:
        return False
    return loss.last_step - pair.score_best_step < LATE * (loss.last_step - loss.first_step)


def _still_falling(training: tuple[Curve, ...]) -> bool:
    """Whether no training loss is flat itself: validation alone may be overfitting instead."""
    return not any(loss.plateau is not None for loss in training)
