"""OPT008: decay rates of the running averages out of place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.settings import optimizer_class, optimizers_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram

SHORTEST_SECOND = 0.9
"""Ten steps of memory: adversarial recipes go as low as this."""
LONGEST_SECOND = 0.9999
"""Ten thousand steps of memory."""
LONGEST_FIRST = 0.99
_SWAPPED = "are in the wrong order"


class BadBetas(Rule):
    """Adam's decay rates are swapped, or far from any that work.

    ## What it does
    Reports `betas` whose second is below 0.9 or at least 0.9999, whose first is at least 0.99, or
    whose first exceeds the second.

    ## Why it hurts
    The second average estimates the size of the gradient and needs hundreds of steps of memory:
    with little, the step follows the noise of single batches; with too much, it lags behind for
    the whole run. A first beta near one turns training into a slow oscillation.

    ## Example
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.999, 0.9))
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
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.999))
        x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
        for epoch in range(20):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()

    ## When it is fine
    The settings of adversarial networks: (0.5, 0.999), (0, 0.9), (0, 0.99).

    ## Measured
    Not measured directly; the probe's loss series shows the consequence.

    ## References
    - Kingma and Ba, Adam: a method for stochastic optimization, 2015
    """

    code, slug, severity = "OPT008", "bad-betas", Severity.WARNING

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report betas out of place."""
        places: set[Location] = set()
        for optimizer in optimizers_of(program, "Adam", "AdamW", "NAdam", "RAdam", "Adamax"):
            value = optimizer.args.get("betas")
            betas = value.numbers if value is not None else None
            if value is None or betas is None or len(betas) != 2:
                continue
            fault = _fault(*betas)
            if fault and one_per_place(places, value.location or optimizer.location):
                yield self.finding(
                    value.location or optimizer.location,
                    f"betas ({betas[0]:g}, {betas[1]:g}) of {optimizer_class(optimizer)} {fault}",
                    help="use (0.9, 0.999), or (0.9, 0.95) for large transformers",
                )


def _fault(first: float, second: float) -> str:
    if first > second:
        return _SWAPPED
    if second < SHORTEST_SECOND:
        return "remember the size of the gradient for a few steps only"
    if second >= LONGEST_SECOND:
        return "keep the first gradients' size for the whole run"
    if first >= LONGEST_FIRST:
        return "average the gradient over a hundred steps and more"
    return ""
