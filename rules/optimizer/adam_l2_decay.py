"""OPT004: Adam's weight decay is L2 regularisation, not decay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.settings import optimizers_of, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram


class AdamL2Decay(Rule):
    """Adam is given a weight decay, which it turns into adaptive L2 regularisation.

    ## What it does
    Reports `torch.optim.Adam` with a `weight_decay` above zero and without
    `decoupled_weight_decay=True`.

    ## Why it hurts
    Adam adds the decay to the gradient and then divides by its running size, so weights with large
    gradients are hardly decayed at all. AdamW decays the weights themselves.

    ## Example
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-4)
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
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)
        x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
        for epoch in range(20):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()

    ## When it is fine
    Reproducing a recipe that was tuned with Adam: the rule is opt-in.

    ## Measured
    Not measured directly; the probe's loss series shows the consequence.

    ## References
    - Loshchilov and Hutter, Decoupled weight decay regularization, ICLR 2019
    """

    code, slug, severity = "OPT004", "adam-l2-decay", Severity.INFO
    fix = Applicability.UNSAFE
    default = False

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report Adam with L2 regularisation."""
        places: set[Location] = set()
        for optimizer in optimizers_of(program, "Adam"):
            decoupled = optimizer.args.get("decoupled_weight_decay")
            if decoupled is not None and decoupled.constant is not False:
                continue
            for decay in settings(optimizer, "weight_decay"):
                if decay.number > 0 and one_per_place(places, decay.location):
                    yield self.finding(
                        decay.location,
                        f"Adam divides its weight decay of {decay.text} by the size of the gradient",
                        help="use AdamW, with a decay about ten times larger",
                        related=decay.related,
                        fix=self.repair(
                            "use AdamW",
                            edits.rename_class(
                                program, optimizer.location, "Adam", "torch.optim.AdamW"
                            ),
                        ),
                    )
