"""LOG008: the best value came after a wait that patience would not have lasted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.rule_options import Option
from convlint.rules import Rule
from convlint.rules.patterns.figures import figure
from convlint.rules.patterns.logs import at, logged_evidence, step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.curves.facts import Curve, Curves

NOISE = 2.0
"""The later gain exceeds the scatter of evaluations by this factor."""
GAINED = 0.01
"""And this share of the level."""


class ImprovesAfterPatience(Rule):
    """A validation metric improved after so long a wait that early stopping would have ended the run.

    ## What it does
    Notes the longest stretch of evaluations without a new best that was followed by a clear one,
    when it is at least `patience` evaluations long.

    ## Why it hurts
    With a patience shorter than that stretch, the better model would not have been found.

    ## Example
        for epoch in range(40):
            late = 0.5 if epoch > 25 else 0.0
            print(f"epoch {epoch} loss: {2.0 * 0.95**epoch:.4f} val_loss: {max(1.0, 2.0 - 0.2 * epoch) - late:.4f}")

    ## Use instead
        for epoch in range(40):
            print(f"epoch {epoch} loss: {2.0 * 0.95**epoch:.4f} val_loss: {2.0 * 0.96**epoch:.4f}")

    ## When it is fine
    Always, if the run is not stopped early. It tells how much patience this training needs.

    ## Measured
    Read by `convlint curves` from a log; `patience-zero` is the fault in source.

    ## References
    - Prechelt, Early Stopping - But When?, in Neural Networks: Tricks of the Trade, 1998
    """

    code, slug, severity = "LOG008", "improves-after-patience", Severity.INFO

    patience = Option(10, "Evaluations without a new best from which on it is reported.", least=1)

    def logged(self, curves: Curves) -> Iterator[Finding]:
        """One finding for each validation metric."""
        for metric in curves.curves:
            gap = metric.gap
            if metric.split != "validation" or metric.part or gap is None:
                continue
            if gap.evaluations < self.patience or not _clear(metric, gap.gained):
                continue
            yield self.finding(
                at(curves, gap.line),
                f"{metric.name} found a new best in step {step(gap.end)} after {gap.evaluations} "
                f"evaluations without one, and gained {figure(gap.gained)} in the end",
                help=f"a patience of more than {gap.evaluations} evaluations would have waited for it",
                evidence=logged_evidence(
                    f"evaluations of {metric.name} without a new best",
                    quantity="evaluations",
                    value=float(gap.evaluations),
                ),
            )


def _clear(metric: Curve, gained: float) -> bool:
    level = abs(metric.last) if metric.last is not None else 0.0
    return gained > max(NOISE * (metric.noise or 0.0), GAINED * level)
