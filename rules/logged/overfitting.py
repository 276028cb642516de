"""LOG001: validation gets worse while training goes on getting better."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns.figures import figure
from convlint.rules.patterns.logs import at, is_plain, logged_evidence, step, training_losses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.curves.facts import Curves, Pair

GENERALISATION_LOSS = 5.0
"""Prechelt's GL in percent: validation this far above its best; below, noise and chance decide."""
PROGRESS_QUOTIENT = 3.0
"""Prechelt's PQ, the laxest he tried: a smaller rise counts where training hardly gains any more."""
SMALLEST_LOSS = 1.0
"""In percent, below which no quotient counts: evaluations differ by as much."""
STRIPS = 3
"""So many evaluations in a row at the end must stand that far above."""
FEWEST_SINCE_BEST = 4
NOISE = 3.0
"""The rise exceeds the evaluations' own scatter by this factor."""
SIGNIFICANT = 0.05
SHARE_OF_RUN = 0.2
"""A run that early stopping ends has just the patience behind its best; that is no fault of it."""
LONG_SHARE = 1.0 / 3.0
"""Patience is rarely longer than this share of a run; up to here it is a note."""


class Overfitting(Rule):
    """The validation loss rises while the training loss goes on falling.

    ## What it does
    Reports a validation loss that stands more than 5 % above its best in each of the last three
    evaluations (Prechelt's GL), rises since its best (Mann-Kendall, 5 %) by more than its own
    scatter, while the training loss fell over the same steps. A smaller rise is noted, when it is
    more than three times what training gained meanwhile (his PQ).

    ## Why it hurts
    The model learns what is particular to the training data; every further step makes it worse on
    any other, and the last checkpoint is not the best one.

    ## Example
        for epoch in range(60):
            loss = 2.0 * 0.93**epoch
            print(f"epoch {epoch} loss: {loss:.4f} val_loss: {loss + 0.01 * epoch:.4f}")

    ## Use instead
        for epoch in range(60):
            loss = 2.0 * 0.93**epoch
            print(f"epoch {epoch} loss: {loss:.4f} val_loss: {loss + 0.2:.4f}")

    ## When it is fine
    A run that early stopping has just ended: where the best validation lies in the last third of the
    run it is a note, in the last fifth nothing. A validation score (accuracy) that still improves
    while the loss, which also punishes overconfidence, rises: then it is a note. Losses of a game
    between networks, and of reinforcement learning, are not judged.

    ## Measured
    Read by `convlint curves` from a log; a short run does not show it.

    ## References
    - Prechelt, Early Stopping - But When?, in Neural Networks: Tricks of the Trade, 1998
    - Mann, Nonparametric tests against trend, Econometrica 1945
    """

    code, slug, severity = "LOG001", "overfitting", Severity.WARNING

    def logged(self, curves: Curves) -> Iterator[Finding]:
        """One finding for each pair of losses, where validation was best."""
        if not training_losses(curves):
            return
        # Parts of a loss, or its exponential, would only say it again.
        plain = [pair for pair in curves.pairs if is_plain(pair.training)]
        for pair in plain or curves.pairs:
            far, slowly = _far_above(pair), _beyond_progress(pair)
            if not ((far or slowly) and _rises(pair) and _training_falls(pair)):
                continue
            last = curves_last(curves, pair)
            if last is None or not _long_since_best(pair, *last):
                continue
            scored = pair.score_best_step is not None and pair.score_best_step > pair.best_step
            late = scored and _near_the_end(pair.score_best_step or 0.0, *last)
            stopped = not _long_since_best(pair, *last, share=LONG_SHARE)
            yield self.finding(
                at(curves, pair.best_line),
                f"{pair.validation} was best at {figure(pair.best)} in step {step(pair.best_step)} "
                f"and is {figure(pair.generalisation_loss[-1])} % above it, while {pair.training} "
                "still falls" + (f"; {pair.score} still improves" if late else ""),
                help="keep the checkpoint of the best validation, stop early, or regularise: more "
                "data, augmentation, weight decay, dropout, a smaller model",
                severity=Severity.INFO if late or stopped or not far else None,
                evidence=logged_evidence(
                    f"{pair.validation} over its best at the end",
                    quantity="generalisation loss",
                    value=pair.generalisation_loss[-1],
                    expected=f"at most {GENERALISATION_LOSS:g} %",
                ),
            )


def curves_last(curves: Curves, pair: Pair) -> tuple[float, float] | None:
    """First and last step of the validation loss."""
    for curve in curves.curves:
        if curve.name == pair.validation:
            return curve.first_step, curve.last_step
    return None


def _far_above(pair: Pair) -> bool:
    return all(loss > GENERALISATION_LOSS for loss in pair.generalisation_loss[-STRIPS:])


def _beyond_progress(pair: Pair) -> bool:
    return all(
        loss > SMALLEST_LOSS and quotient is not None and quotient > PROGRESS_QUOTIENT
        for loss, quotient in zip(
            pair.generalisation_loss[-STRIPS:], pair.progress_quotient[-STRIPS:], strict=True
        )
    )


def _rises(pair: Pair) -> bool:
    since = pair.generalisation_loss
    return (
        len(since) >= FEWEST_SINCE_BEST
        and pair.p_rising < SIGNIFICANT
        and pair.validation_noise is not None
        and pair.rise > NOISE * pair.validation_noise
    )


def _training_falls(pair: Pair) -> bool:
    return pair.training_fell is not None and pair.training_fell > 0.0


def _long_since_best(pair: Pair, first: float, last: float, share: float = SHARE_OF_RUN) -> bool:
    return last - pair.best_step >= share * (last - first)


def _near_the_end(best: float, first: float, last: float) -> bool:
    return last - best < SHARE_OF_RUN * (last - first)
