"""REP001: no random seed is set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.program.facts import EventKind
from convlint.rules import Rule
from convlint.rules.patterns.seeds import sets_seed
from convlint.rules.patterns.training_loops import training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.program.facts import TrainingProgram


class NoSeed(Rule):
    """No random seed is set.

    ## What it does
    Reports a script that trains with PyTorch and sets no seed.

    ## Why it hurts
    Two runs differ, and it cannot be told whether a change helped or the draw was lucky.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
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
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        torch.manual_seed(0)
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()

    ## When it is fine
    Most scripts do without, which is why the rule has to be selected. Functions of a library,
    whose caller sets the seed, and frameworks that set it are not reported.

    ## Measured
    Not measured: one run cannot tell how another would differ.

    ## References
    - PyTorch documentation, "Reproducibility"
    - Henderson et al., "Deep Reinforcement Learning that Matters", 2018
    """

    code = "REP001"
    slug = "no-seed"
    severity = Severity.INFO
    default = False

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report the first training loop of a script without any seed."""
        if program.managed or sets_seed(program):
            return
        loop = next(
            (found for found in training_loops(program) if not found.entry.standalone), None
        )
        if loop is not None:
            backward = loop.of_kind(EventKind.BACKWARD)[0]
            yield self.finding(
                backward.event.location,
                "no seed is set before this training, so two runs differ",
                help="call `torch.manual_seed(...)` at the start",
            )
