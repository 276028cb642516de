"""OPT007: an epsilon that takes over, or that vanishes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.settings import optimizer_class, optimizers_of, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram

LARGE = 1e-2
"""Gradients of a single weight are rarely larger than this."""
SMALL = 1e-12
"""Below the resolution of a float32 sum with any running average that matters."""
_RMSPROP_RECIPES = (0.1, 1.0)


class BadEps(Rule):
    """The optimizer's epsilon is so large that it decides the step, or so small that it is none.

    ## What it does
    Reports `eps` of 0.01 and more, or of 1e-12 and less, for Adam and its relatives and RMSprop.

    ## Why it hurts
    The step is divided by the root of the running squared gradient plus epsilon. A large epsilon
    turns Adam into SGD with a tiny learning rate; a vanishing one lets parameters with a gradient
    near zero jump.

    ## Example
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=0.1)
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
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-8)
        x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
        for epoch in range(20):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()

    ## When it is fine
    Adagrad and Adafactor (their epsilon means something else), RMSprop with the eps of 1.0 or 0.1
    of the Inception recipes.

    ## Measured
    Not measured directly; the probe's loss series shows the consequence.

    ## References
    - Kingma and Ba, Adam: a method for stochastic optimization, 2015
    - Humbatova et al., Taxonomy of real faults in deep learning systems, ICSE 2020
    """

    code, slug, severity = "OPT007", "bad-eps", Severity.WARNING
    fix = Applicability.UNSAFE

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report an epsilon beyond its purpose."""
        places: set[Location] = set()
        for optimizer in optimizers_of(
            program, "Adam", "AdamW", "NAdam", "RAdam", "Adamax", "RMSprop"
        ):
            name = optimizer_class(optimizer)
            for eps in settings(optimizer, "eps"):
                if SMALL < eps.number < LARGE or (
                    name == "RMSprop" and eps.number in _RMSPROP_RECIPES
                ):
                    continue
                if not one_per_place(places, eps.location):
                    continue
                effect = (
                    "decides the size of the step"
                    if eps.number >= LARGE
                    else "protects from nothing"
                )
                yield self.finding(
                    eps.location,
                    f"eps {eps.text} of {name} {effect}",
                    help="use 1e-8 (1e-5 in reinforcement learning, 1e-7 in half precision)",
                    related=eps.related,
                    fix=self.repair("use 1e-8", edits.set_value(program, eps.value, "1e-8")),
                )
