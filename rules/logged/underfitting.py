"""LOG002: the training loss rests where it began."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns.figures import figure
from convlint.rules.patterns.logs import at, logged_evidence, main_loss, step, words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.curves.facts import Curve, Curves

GAINED = 0.1
"""A loss that kept nine tenths of its start has learnt little; 10 % is what class frequencies and
other constants are worth."""
NEAR_BASELINE = 0.1
"""Within this share of the loss of a constant prediction."""
CHANCE = 0.2
EXACT_CHANCE = 0.05
"""A score within this share of 1 / C, for a whole number of classes, is that of guessing: the first
where the loss is the cross entropy of guessing too, the second for any other loss."""
ACCURACIES = {"acc", "accuracy", "acc1", "top1", "prec1", "f1", "auc", "auroc"}
"""Words for scores that guessing gives a value above zero; a mean average precision or a BLEU of
0.17 is no guess among six classes."""
MOST_CLASSES = 1000
FEWEST_POINTS = 20


class Underfitting(Rule):
    """The training loss is flat and close to where it began: the model learns next to nothing.

    ## What it does
    Reports a training loss that has no trend left and lost less than 10 % of its first value, or
    rests within 10 % of the loss of a constant prediction (`--baseline`).

    ## Why it hurts
    More epochs will not help: gradients do not arrive, the learning rate is orders of magnitude
    off, the model is too small, or inputs and labels do not belong together.

    ## Example
        for step in range(100):
            print(f"step {step} loss: {2.303 + 0.002 * (step % 3):.4f} accuracy: 0.1")

    ## Use instead
        for step in range(100):
            print(f"step {step} loss: {2.303 * 0.97**step:.4f} accuracy: {1 - 0.9 * 0.97**step:.3f}")

    ## When it is fine
    A pre-trained model starts low and moves little. Unless the baseline is given or an accuracy stands
    at chance level, the log cannot tell the two apart and this is a note.

    ## Measured
    `stalled-loss` and `cannot-overfit-batch` are what `convlint probe` measures of it.

    ## References
    - Goodfellow, Bengio, Courville, Deep Learning, 2016, chapter 11.5: debugging strategies
    """

    code, slug, severity = "LOG002", "underfitting", Severity.WARNING
    twins = ("stalled-loss",)

    def logged(self, curves: Curves) -> Iterator[Finding]:
        """One finding for the log."""
        loss = main_loss(curves)
        if loss is None or loss.points < FEWEST_POINTS or loss.first is None or loss.last is None:
            return
        # What cannot halve in many runs of this length counts as flat where little was gained.
        flat = loss.plateau is not None or loss.kind in ("stalled", "slow")
        if not flat or loss.kind in ("diverging", "oscillating"):
            return
        at_baseline = curves.baseline is not None and (
            loss.last > (1.0 - NEAR_BASELINE) * curves.baseline
        )
        moved = loss.first - loss.last >= GAINED * abs(loss.first)
        chance = _score_at_chance(curves, loss.last)
        if not at_baseline and chance is None and (moved or curves.baseline is not None):
            return
        sure = at_baseline or chance is not None
        if loss.kind == "slow" and (curves.planned_steps is not None or not sure):
            return
        reason = ""
        if at_baseline:
            reason = f"; a constant prediction has {figure(curves.baseline)}"
        elif chance is not None:
            reason = f"; {chance.name} stands at {figure(chance.last)}, as by chance"
        yield self.finding(
            at(curves, loss.first_line),
            f"{loss.name} went from {figure(loss.first)} to {figure(loss.last)} in "
            f"{step(loss.last_step - loss.first_step)} steps and is flat{reason}",
            help="run `convlint audit` on the script; try whether the model can learn a single batch "
            "by heart, another learning rate, a larger model",
            severity=None if sure else Severity.INFO,
            evidence=logged_evidence(
                f"{loss.name} at the end",
                quantity="loss",
                value=loss.last,
                expected=f"below {figure((1.0 - GAINED) * loss.first)}",
            ),
        )


def _score_at_chance(curves: Curves, reached: float) -> Curve | None:
    """A score that neither moved nor stands above guessing among a few classes.

    Many a score of 0.37 is none of three classes: either it is very near a third, or the loss has
    ``reached`` the cross entropy of as many.
    """
    for curve in curves.curves:
        if curve.quantity != "score" or curve.first is None or not curve.last:
            continue
        if not ACCURACIES & words(curve.name):
            continue
        level = curve.last / 100.0 if curve.last > 1.0 else curve.last
        if not 1.0 / MOST_CLASSES <= level <= 0.6:
            continue
        classes = max(round(1.0 / level), 2)
        entropy = math.log(classes)
        guessing = abs(reached - entropy) < NEAR_BASELINE * entropy
        share = CHANCE if guessing else EXACT_CHANCE
        if (
            abs(level * classes - 1.0) < share
            and abs(curve.last / max(curve.first, 1e-9) - 1.0) < share
        ):
            return curve
    return None
