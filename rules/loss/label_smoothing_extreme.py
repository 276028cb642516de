"""LOS019: label smoothing that drowns the labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Severity
from convlint.rule_options import Option
from convlint.rules import Rule
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.losses import trained_losses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Finding, Location
    from convlint.program.facts import TrainingProgram

EXTREME = 0.5
"""With half of the weight spread over all classes a label is outweighed for two classes and noise
for more; published values are 0.1 to 0.2."""


class LabelSmoothingExtreme(Rule):
    """Label smoothing of one half or more leaves little of the labels.

    ## What it does
    Reports a `cross_entropy` with `label_smoothing` of 0.5 or more.

    ## Why it hurts
    The right class gets only 1 - smoothing of the weight; the rest is spread over all classes and teaches
    the model to be uncertain. Usual values lie between 0.05 and 0.2.

    ## Example
        import torch
        import torch.nn.functional as F
        from torch import nn

        model = nn.Linear(20, 10)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(64, 20)
        y = torch.randint(0, 10, (64,))
        for epoch in range(10):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y, label_smoothing=0.9)
            loss.backward()
            optimizer.step()

    ## Use instead
        import torch
        import torch.nn.functional as F
        from torch import nn

        model = nn.Linear(20, 10)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(64, 20)
        y = torch.randint(0, 10, (64,))
        for epoch in range(10):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y, label_smoothing=0.1)
            loss.backward()
            optimizer.step()

    ## When it is fine
    Values below one half.

    ## Measured
    Nothing is measured for it.

    ## References
    - Szegedy et al.: Rethinking the Inception Architecture, CVPR 2016 (0.1)
    """

    code, slug, severity = "LOS019", "label-smoothing-extreme", Severity.WARNING

    limit = Option(EXTREME, "The smoothing from which on it is reported.", least=0, most=1)

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per loss smoothed beyond use."""
        places: set[Location] = set()
        for loss in trained_losses(program, frozenset({"cross_entropy"})):
            smoothing = loss.args.get("label_smoothing")
            if smoothing is None or smoothing.number is None or smoothing.number < self.limit:
                continue
            if one_per_place(places, loss.location):
                yield self.finding(
                    smoothing.location or loss.location,
                    f"label smoothing of {smoothing.number:g} takes that share of the weight from the "
                    "right class",
                    help="use 0.05 to 0.2",
                )
