"""LOG009: the log is that of a learning-rate range test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns.figures import figure
from convlint.rules.patterns.logs import at, logged_evidence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.curves.facts import Curves


class RangeTest(Rule):
    """The learning rate is swept over decades: a range test, and no training run.

    ## What it does
    Notes a log whose learning rate rises exponentially by two decades at least, to its end, and says
    at which rate the loss falls fastest and from which on it rises for good. Such a log is not
    judged otherwise.

    ## Why it hurts
    It does not: the loss of a range test ends in divergence on purpose. What it is for is the rate
    to train with.

    ## Example
        for step in range(100):
            rate = 1e-5 * 10 ** (step / 20)
            loss = 2.3 - 2.0 * min(rate / 0.1, 1.0) + max(0.0, rate - 0.2) ** 2
            print(f"step {step} loss: {loss:.4f} lr: {rate:.3e}")

    ## Use instead
        for step in range(100):
            print(f"step {step} loss: {2.3 * 0.97**step:.4f} lr: 0.03")

    ## When it is fine
    Always. A schedule that only warms up exponentially looks the same while it is all there is in
    the log.

    ## Measured
    `convlint probe` runs the same sweep on recorded steps of the script itself.

    ## References
    - Smith, Cyclical Learning Rates for Training Neural Networks, WACV 2017, section 3.3
    """

    code, slug, severity = "LOG009", "range-test", Severity.INFO

    def logged(self, curves: Curves) -> Iterator[Finding]:
        """One finding for the log."""
        test = curves.range_test
        if test is None:
            return
        falls = (
            f"{test.loss} falls fastest at {figure(test.steepest)}"
            if test.steepest is not None
            else f"{test.loss} never falls by more than its noise"
        )
        rises = (
            f"and rises for good from {figure(test.leaves)} on"
            if test.leaves is not None
            else "and has not left at the last rate"
        )
        yield self.finding(
            at(curves, test.line),
            f"the learning rate rises from {figure(test.first)} to {figure(test.last)}: a range "
            f"test; {falls} {rises}",
            help=f"train with a highest rate of about {figure(test.suggested)}, a third of where the "
            "sweep learns no more"
            if test.suggested is not None
            else "sweep on until the loss leaves: only then does the test say where learning ends",
            evidence=logged_evidence(
                f"rate from which {test.loss} rises for good",
                quantity="learning rate",
                value=test.leaves,
            ),
        )
