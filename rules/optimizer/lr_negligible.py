"""OPT003: the learning rate is so small that nothing is learned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Evidence, Finding, Severity
from convlint.program.facts import ObjectKind
from convlint.rule_options import Option
from convlint.rules import Rule
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.handed import is_handed_on
from convlint.rules.patterns.paths import occurrences
from convlint.rules.patterns.rates import learning_rates, rate_is_set_elsewhere
from convlint.rules.patterns.training_loops import stepped_optimizer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import Object, TrainingProgram

NEGLIGIBLE = 1e-7
"""A weight of size 0.1 in float32 has neighbours 7e-9 apart: steps of this size are mostly lost
in rounding, and a million of them move a weight by a tenth at most."""


class LrNegligible(Rule):
    """The learning rate is so small that nothing is learned.

    ## What it does
    Reports an optimizer built with a learning rate of 0, or of 1e-7 or less, when nothing sets
    the rate later.

    ## Why it hurts
    The parameters stay where initialisation put them, and the loss stays flat for the whole run.
    A misplaced exponent (`1e-30` for `1e-3`) is the usual cause.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-9)
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
    Scripts that set the rate of each step themselves start from 0, and so do some warm-ups and
    optimizers that a checkpoint is loaded into: none is reported. Groups that are frozen by a rate of 0 beside others that learn are not
    reported either.

    ## Measured
    `convlint probe` measures the size of updates against the weights.

    ## References
    - Schoop et al., "UMLAUT: debugging deep learning programs using program structure", 2021
    """

    code = "OPT003"
    slug = "lr-negligible"
    severity = Severity.WARNING
    confirmed_by = ("update-ratio-too-small", "stalled-loss")
    unmeasured_because = "the probe took too few real steps to judge the learning rate"

    limit = Option(NEGLIGIBLE, "The highest learning rate that is reported.", least=0)

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report optimizers all of whose learning rates are known and negligible."""
        if program.role == "test":
            return
        places: set[Location] = set()
        for optimizer in program.objects:
            if optimizer.kind is not ObjectKind.OPTIMIZER or optimizer.escaped:
                continue
            rates = list(learning_rates(optimizer))
            if not rates or any(not 0 <= rate.number <= self.limit for rate in rates):
                continue
            if rate_is_set_elsewhere(program, optimizer):
                continue
            if "load_state_dict" in optimizer.methods:
                continue  # a checkpoint brings its own rates
            if not any(rate.number for rate in rates) and _goes_elsewhere(program, optimizer):
                continue  # a zero says that what it is handed to sets the rate
            rate = rates[0]
            if not one_per_place(places, rate.location):
                continue
            yield self.finding(
                rate.location,
                f"learning rate {rate.text} is too small to learn anything in a run of any length",
                help="start from 1e-3 for Adam, 0.1 for SGD",
                related=rate.related,
                evidence=(
                    Evidence(
                        source="static",
                        statement="learning rate",
                        quantity="learning rate",
                        value=rate.number,
                        expected=f"above {self.limit:g}",
                    ),
                ),
            )


def _goes_elsewhere(program: TrainingProgram, optimizer: Object) -> bool:
    """Whether other code steps it: what it was handed to, or the caller of the function here."""
    if not optimizer.within:
        return is_handed_on(program, optimizer)
    return not any(
        stepped_optimizer(o.event) == optimizer.id
        for entry in program.entries
        for o in occurrences(entry.body)
    )
