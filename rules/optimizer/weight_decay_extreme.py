"""OPT006: a weight decay that outweighs the loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Confidence, Finding, Severity
from convlint.rule_options import Option
from convlint.rules import Rule
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.settings import optimizer_class, optimizers_of, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram

COUPLED_LIMIT = 0.1
"""Recipes for convolutional networks use 1e-4 to 5e-4; nothing trained well is near a tenth."""
DECOUPLED_LIMIT = 0.5
"""Vision transformers go up to 0.3 with AdamW."""
_COUPLED = ("SGD", "Adam", "NAdam", "RAdam", "Adamax", "RMSprop", "Adagrad", "Adadelta")


class WeightDecayExtreme(Rule):
    """The weight decay is so large that it decides the weights, not the loss.

    ## What it does
    Reports a weight decay of 0.1 and more with SGD, Adam and their relatives, which add it to the
    gradient, and above 0.5 with AdamW, which scales it by the learning rate.

    ## Why it hurts
    With L2 regularisation of 0.1 the pull towards zero is as strong as the gradient of the loss
    for most weights: the network underfits, or its weights shrink until nothing is learnt.

    ## Example
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.5)
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
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
        x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
        for epoch in range(20):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()

    ## When it is fine
    Decoupled decay up to 0.5 (vision transformers use 0.3), Muon, groups of a few parameters.

    ## Measured
    Not measured directly; the probe's loss series shows the consequence.

    ## References
    - Krogh and Hertz, A simple weight decay can improve generalization, 1991
    - Loshchilov and Hutter, Decoupled weight decay regularization, ICLR 2019
    """

    code, slug, severity = "OPT006", "weight-decay-extreme", Severity.WARNING
    confidence = Confidence.MEDIUM

    coupled_limit = Option(
        COUPLED_LIMIT,
        "The weight decay from which on it is reported where it is part of the gradient.",
        least=0,
    )
    decoupled_limit = Option(
        DECOUPLED_LIMIT,
        "The highest weight decay that is not reported where it is decoupled, as in AdamW.",
        least=0,
    )

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report decay beyond what recipes use."""
        if program.role == "test":
            return
        places: set[Location] = set()
        for optimizer in optimizers_of(program, *_COUPLED, "AdamW"):
            name = optimizer_class(optimizer)
            decoupled = optimizer.args.get("decoupled_weight_decay")
            if name != "AdamW" and decoupled is not None and decoupled.constant is not False:
                continue
            for decay in settings(optimizer, "weight_decay"):
                extreme = (
                    decay.number > self.decoupled_limit
                    if name == "AdamW"
                    else decay.number >= self.coupled_limit
                )
                if not extreme or not optimizer.parameters_of:
                    continue
                if one_per_place(places, decay.location):
                    yield self.finding(
                        decay.location,
                        f"weight decay {decay.text} is extreme for {name}: it outweighs the loss",
                        help="use 1e-4 to 5e-4 with SGD and Adam, 0.01 to 0.1 with AdamW",
                        related=decay.related,
                    )
