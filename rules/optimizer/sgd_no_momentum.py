"""OPT010: plain SGD over a convolutional network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Confidence, Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.imported import uses_library
from convlint.rules.patterns.layers import canonical
from convlint.rules.patterns.ownership import object_of, submodules
from convlint.rules.patterns.settings import optimizer_class, optimizers_of, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram

FEWEST_CONVOLUTIONS = 2


class SgdNoMomentum(Rule):
    """A convolutional network is trained by SGD without momentum.

    ## What it does
    Reports `torch.optim.SGD` with a momentum of zero over a model with at least two convolutions.

    ## Why it hurts
    Without momentum the directions of small curvature, where most of the progress lies, are
    crossed at the pace the steepest ones allow: several times more epochs for the same loss.

    ## Example
        import torch
        from torch import nn

        model = nn.Sequential(
            nn.Unflatten(1, (1, 2, 4)),
            nn.Conv2d(1, 4, 2),
            nn.ReLU(),
            nn.Conv2d(4, 4, 1),
            nn.Flatten(),
            nn.Linear(12, 2),
        )
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
        for epoch in range(20):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()

    ## Use instead
        import torch
        from torch import nn

        model = nn.Sequential(
            nn.Unflatten(1, (1, 2, 4)),
            nn.Conv2d(1, 4, 2),
            nn.ReLU(),
            nn.Conv2d(4, 4, 1),
            nn.Flatten(),
            nn.Linear(12, 2),
        )
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
        for epoch in range(20):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()

    ## When it is fine
    Teaching scripts, differentially private training, recurrent networks: the rule is opt-in.

    ## Measured
    Not measured directly; the loss series of the probe shows the consequence.

    ## References
    - Sutskever et al., On the importance of initialization and momentum in deep learning, 2013
    """

    code, slug, severity = "OPT010", "sgd-no-momentum", Severity.INFO
    fix = Applicability.UNSAFE
    confidence = Confidence.MEDIUM
    default = False

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report SGD without momentum over convolutions."""
        if uses_library(program, "opacus"):
            return  # the noise of every step outweighs what momentum would gain
        places: set[Location] = set()
        for optimizer in optimizers_of(program, "SGD"):
            if not optimizer.parameters_of:
                continue
            parts = [object_of(program, n) for n in submodules(program, optimizer.parameters_of)]
            convolutions = sum(
                part is not None and canonical(part.cls).startswith("conv") for part in parts
            )
            for momentum in settings(optimizer, "momentum"):
                if momentum.number != 0 or convolutions < FEWEST_CONVOLUTIONS:
                    continue
                if one_per_place(places, optimizer.location):
                    yield self.finding(
                        optimizer.location,
                        f"{optimizer_class(optimizer)} without momentum over a convolutional network",
                        help="momentum=0.9",
                        fix=self.repair(
                            "use a momentum of 0.9",
                            edits.set_value(program, momentum.value, "0.9")
                            if momentum.given
                            else edits.add_keyword(program, optimizer.location, "momentum", "0.9"),
                        ),
                    )
