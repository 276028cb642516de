"""NRM019: many layers in one straight line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import (
    Confidence,
    Evidence,
    Finding,
    Severity,
)
from convlint.rule_options import Option
from convlint.rules import Rule
from convlint.rules.patterns.initialisations import (
    untouched,
)
from convlint.rules.patterns.layers import (
    ACTIVATION_OPS,
    Architecture,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.program.facts import (
        TrainingProgram,
    )

DEEPEST_PLAIN = 20
"""VGG-19 still trains; plain networks of 20 layers and more were the case for residuals."""


class DeepPlainNetwork(Rule):
    """A very deep network has neither normalisation nor skip connections.

    ## What it does
    Reports a model with 20 or more weight layers in one straight line, with no normalisation layer
    and no residual addition, whose weights are not initialised by hand.

    ## Why it hurts
    Without a path around the layers the gradient is a product of twenty Jacobians: it vanishes or
    explodes, and beyond about 20 layers even the training error of plain networks rises with
    depth.

    ## Example
        import torch
        from torch import nn

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.hidden = nn.ModuleList([nn.Linear(64, 64) for _ in range(24)])
                self.head = nn.Linear(64, 2)

            def forward(self, x):
                for layer in self.hidden:
                    x = torch.relu(layer(x))
                return self.head(x)

        model = Net()
        optimizer = torch.optim.Adam(model.parameters())

    ## Use instead
        import torch
        from torch import nn

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.hidden = nn.ModuleList([nn.Linear(64, 64) for _ in range(24)])
                self.head = nn.Linear(64, 2)

            def forward(self, x):
                for layer in self.hidden:
                    x = x + torch.relu(layer(x))
                return self.head(x)

        model = Net()
        optimizer = torch.optim.Adam(model.parameters())

    ## When it is fine
    Any normalisation or skip connection; recurrent networks; initialisations made for depth, such
    as Fixup or LSUV.

    ## Measured
    `convlint probe` measures the gradient that reaches the first layers.

    ## References
    - He et al., Deep residual learning for image recognition, CVPR 2016, figure 1
    """

    code, slug, severity = "NRM019", "deep-plain-network", Severity.WARNING
    confidence = Confidence.MEDIUM
    confirmed_by = ("vanishing-gradient", "exploding-gradient")

    layers = Option(
        DEEPEST_PLAIN, "The number of layers in a row from which on it is reported.", least=2
    )

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per model."""
        for model in program.models:
            if len(model.layers) < self.layers:
                continue
            architecture = Architecture(program, model)
            if not architecture.plain or not untouched(program, architecture):
                continue
            run = architecture.longest_run(ACTIVATION_OPS)
            if len(run) >= self.layers:
                yield self.finding(
                    model.location,
                    f"{len(run)} weight layers in a straight line, without normalisation or a skip "
                    "connection",
                    help="add residual connections or normalisation layers",
                    evidence=(Evidence("static", f"{len(run)} weight layers, no way around them"),),
                )
