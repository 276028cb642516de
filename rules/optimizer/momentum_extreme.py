"""OPT009: a momentum that never forgets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.rule_options import Option
from convlint.rules import Rule
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.settings import optimizer_class, optimizers_of, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram

NEVER_FORGETS = 0.999
"""A thousand steps of memory; recipes stay between 0.9 and 0.99."""


class MomentumExtreme(Rule):
    """The momentum is 0.999 or more, so a step follows the last thousand gradients.

    ## What it does
    Reports SGD and RMSprop with a momentum of at least 0.999.

    ## Why it hurts
    The effective learning rate is the rate over one minus the momentum: at 0.999 a thousand times
    what was set. Training overshoots and oscillates over hundreds of steps.

    ## Example
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.999)
        x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
        for epoch in range(20):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()

    ## Use instead
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
        for epoch in range(20):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()

    ## When it is fine
    The momentum of an average of weights (a teacher network) is another one and not looked at.

    ## Measured
    Not measured directly; the probe's loss series shows the consequence.

    ## References
    - Sutskever et al., On the importance of initialization and momentum in deep learning, 2013
    """

    code, slug, severity = "OPT009", "momentum-extreme", Severity.WARNING
    confirmed_by = ("oscillating-loss", "diverging-loss")
    unmeasured_because = "the loss series was too short to show oscillation"

    limit = Option(NEVER_FORGETS, "The momentum from which on it is reported.", least=0, most=1)

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report momenta at which nothing is forgotten."""
        places: set[Location] = set()
        for optimizer in optimizers_of(program, "SGD", "RMSprop"):
            for momentum in settings(optimizer, "momentum"):
                if momentum.number >= self.limit and one_per_place(places, momentum.location):
                    memory = (
                        f"averages over {1 / (1 - momentum.number):.0f} steps"
                        if momentum.number < 1
                        else "never forgets a gradient"
                    )
                    yield self.finding(
                        momentum.location,
                        f"momentum {momentum.text} of {optimizer_class(optimizer)} {memory}",
                        help="use 0.9, at most 0.99 with a lower learning rate",
                        related=momentum.related,
                    )
