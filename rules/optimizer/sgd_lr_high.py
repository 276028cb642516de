"""OPT002: the learning rate is too high for stochastic gradient descent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Confidence, Evidence, Finding, Severity
from convlint.program.facts import EventKind, ObjectKind
from convlint.rule_options import Option
from convlint.rules import Rule
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.paths import occurrences
from convlint.rules.patterns.rates import (
    learning_rates,
    optimizes_modules,
    rate_is_set_elsewhere,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import Object, TrainingProgram

HIGH = 1.0
"""Stable steps need a rate below 2 / curvature; losses of networks at initialisation curve by
more than 2 in some direction nearly always."""
HIGH_WITH_MOMENTUM = 0.5
HEAVY_MOMENTUM = 0.9
"""Momentum m multiplies the distance travelled by 1 / (1 - m): ten times at 0.9."""


class SgdLrHigh(Rule):
    """The learning rate is too high for stochastic gradient descent.

    ## What it does
    Reports `torch.optim.SGD` over a network with a learning rate of 1 or more, or of 0.5 or more
    with momentum 0.9 or more.

    ## Why it hurts
    Gradient descent is stable while the rate stays below 2 over the curvature. Above it the
    iterates overshoot by more each step: the loss oscillates, then overflows.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=5.0, momentum=0.9)
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()

    ## Use instead
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()

    ## When it is fine
    A rate that a schedule or the script sets, training with clipped gradients (the large rates of
    recurrent language models), a single linear layer, tests: none is reported.

    ## Measured
    `convlint probe` measures the curvature and the stability limit that follows from it, and the
    loss itself.

    ## References
    - Bottou, Curtis and Nocedal, "Optimization methods for large-scale machine learning", 2018
    - Cohen et al., "Gradient descent on neural networks typically occurs at the edge of
      stability", 2021
    """

    code = "OPT002"
    slug = "sgd-lr-high"
    severity = Severity.WARNING
    confidence = Confidence.MEDIUM
    confirmed_by = ("learning-rate-above-stability", "diverging-loss", "update-ratio-too-large")
    unmeasured_because = "the probe took too few real steps to judge the learning rate"

    limit = Option(
        HIGH, "The learning rate from which on it is reported, without momentum.", least=0
    )
    limit_with_momentum = Option(
        HIGH_WITH_MOMENTUM,
        "The learning rate from which on it is reported beside a momentum of 0.9 or more.",
        least=0,
    )

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report the rate of SGD over networks whose gradients nothing clips."""
        if program.role == "test" or _clips(program):
            return
        places: set[Location] = set()
        for optimizer in program.objects:
            if (
                optimizer.kind is not ObjectKind.OPTIMIZER
                or optimizer.cls not in ("torch.optim.SGD", "torch.optim.sgd.SGD")
                or not optimizes_modules(program, optimizer)
                or rate_is_set_elsewhere(program, optimizer)
            ):
                continue
            limit = (
                self.limit_with_momentum if _momentum(optimizer) >= HEAVY_MOMENTUM else self.limit
            )
            for rate in learning_rates(optimizer):
                if rate.number < limit or not one_per_place(places, rate.location):
                    continue
                momentum = _momentum(optimizer)
                setting = f"SGD with momentum {momentum:g}" if momentum else "SGD"
                yield self.finding(
                    rate.location,
                    f"learning rate {rate.text} is high for {setting} over a network",
                    help="start from 0.1 without momentum, 0.01 to 0.1 with it",
                    related=rate.related,
                    evidence=(
                        Evidence(
                            source="static",
                            statement=f"learning rate of {setting}",
                            quantity="learning rate",
                            value=rate.number,
                            expected=f"below {limit:g}",
                        ),
                    ),
                )


def _momentum(optimizer: Object) -> float:
    value = optimizer.args.get("momentum")
    return (value.number if value is not None else None) or 0.0


def _clips(program: TrainingProgram) -> bool:
    return any(
        o.kind is EventKind.CLIP for entry in program.entries for o in occurrences(entry.body)
    )
