"""OPT001: the learning rate is too high for an adaptive optimizer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Confidence, Evidence, Finding, Severity
from convlint.program.facts import ObjectKind
from convlint.rule_options import Option
from convlint.rules import Rule
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.rates import (
    default_serves_another_update,
    learning_rates,
    learns_by_reinforcement,
    optimizes_modules,
    rate_is_set_elsewhere,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import Object, TrainingProgram

HIGH = 1e-2
"""Adaptive optimizers move every weight by about the learning rate per step. 1e-2 itself is the
documented default of RMSprop and common for small networks; above it healthy scripts are rare."""
BROKEN = 0.1
"""A tenth per step and weight exceeds the scale of the weights themselves (1 / sqrt(fan_in))."""

_ADAPTIVE = frozenset(
    {"Adam", "AdamW", "NAdam", "RAdam", "Adamax", "SparseAdam", "RMSprop", "Lion", "Adafactor"}
)
_LIBRARIES = ("torch.optim.", "lion_pytorch.", "transformers.")


class AdaptiveLrHigh(Rule):
    """The learning rate is too high for an adaptive optimizer.

    ## What it does
    Reports Adam, AdamW, NAdam, RAdam, Adamax, RMSprop, Lion and Adafactor over a network with a
    learning rate above 0.01; from 0.1 on as an error.

    ## Why it hurts
    These optimizers divide by the size of the gradient, so each weight moves by about the learning
    rate per step, whatever the loss. Steps as large as the weights themselves wipe out the
    initialisation: units die, outputs saturate, the loss stalls high or diverges.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
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
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()

    ## When it is fine
    A rate that a warm-up, a one-cycle policy or the script itself sets, optimising an input or a
    latent vector instead of a network, a single linear layer, reinforcement learning with a tiny
    policy, tests: none is reported.

    ## Measured
    `convlint probe` measures the size of updates against the weights, the stability limit of the
    learning rate, and the loss itself.

    ## References
    - Kingma and Ba, "Adam: a method for stochastic optimization", 2015, section 2.1
    - Schoop et al., "UMLAUT: debugging deep learning programs using program structure", 2021
    """

    code = "OPT001"
    slug = "adaptive-lr-high"
    severity = Severity.WARNING
    confidence = Confidence.MEDIUM
    confirmed_by = ("update-ratio-too-large", "diverging-loss", "learning-rate-above-stability")
    unmeasured_because = "the probe took too few real steps to judge the learning rate"

    limit = Option(HIGH, "The highest learning rate that is not reported.", least=0)
    error_from = Option(BROKEN, "The learning rate from which on it is an error.", least=0)

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report the rate of adaptive optimizers over networks."""
        if program.role == "test":
            return
        places: set[Location] = set()
        for optimizer in program.objects:
            if optimizer.kind is not ObjectKind.OPTIMIZER or not _is_adaptive(optimizer):
                continue
            for rate in learning_rates(optimizer):
                if rate.number <= self.limit or not optimizes_modules(program, optimizer):
                    continue
                if rate_is_set_elsewhere(program, optimizer):
                    continue
                if default_serves_another_update(program, rate):
                    continue
                if rate.number < self.error_from and learns_by_reinforcement(program):
                    continue
                if not one_per_place(places, rate.location):
                    continue
                name = optimizer.cls.rsplit(".", 1)[-1]
                yield self.finding(
                    rate.location,
                    f"learning rate {rate.text} is high for {name}: every weight moves by about "
                    "that much per step",
                    help="start from 1e-3 (3e-4 for transformers)",
                    severity=Severity.ERROR if rate.number >= self.error_from else Severity.WARNING,
                    related=rate.related,
                    evidence=(
                        Evidence(
                            source="static",
                            statement=f"learning rate of {name}",
                            quantity="learning rate",
                            value=rate.number,
                            expected=f"at most {self.limit:g}",
                        ),
                    ),
                )


def _is_adaptive(optimizer: Object) -> bool:
    name = optimizer.cls.rsplit(".", 1)[-1]
    if name not in _ADAPTIVE or not optimizer.cls.startswith(_LIBRARIES):
        return False
    if name == "Adafactor" and optimizer.cls.startswith("transformers."):
        # with relative steps the rate is a multiplier of a rate of its own
        relative = optimizer.args.get("relative_step")
        return relative is not None and relative.constant is False
    return True
