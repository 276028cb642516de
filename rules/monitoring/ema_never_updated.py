"""MON010: averaged weights are set up and never updated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns.handed import is_handed_on
from convlint.rules.patterns.ownership import name_of
from convlint.rules.patterns.training_loops import training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.program.facts import TrainingProgram


class EmaNeverUpdated(Rule):
    """Averaged weights are set up and never updated.

    ## What it does
    Reports a `torch.optim.swa_utils.AveragedModel` whose `update_parameters` is never called in
    a program that trains.

    ## Why it hurts
    The average stays at the initial weights. Evaluating or saving it gives an untrained model.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        averaged = torch.optim.swa_utils.AveragedModel(model)
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
        torch.save(averaged.state_dict(), 'averaged.pt')

    ## Use instead
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        averaged = torch.optim.swa_utils.AveragedModel(model)
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
                averaged.update_parameters(model)
        torch.save(averaged.state_dict(), 'averaged.pt')

    ## When it is fine
    An average handed to other code, and programs that train elsewhere, are not reported.

    ## Measured
    Not measured: over the few steps of a probe an average hardly moves.

    ## References
    - PyTorch documentation, `torch.optim.swa_utils`
    - Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", 2018
    """

    code = "MON010"
    slug = "ema-never-updated"
    severity = Severity.WARNING

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report averages nobody updates."""
        if program.managed or not training_loops(program):
            return
        for item in program.objects:
            if item.cls != "torch.optim.AveragedModel" or item.escaped:
                continue
            if "update_parameters" in item.methods or is_handed_on(program, item):
                continue
            name = name_of(item, "the average")
            yield self.finding(
                item.location,
                f"`{name}` is never updated, so it stays at the initial weights",
                help=f"call `{name}.update_parameters(model)` after each step",
            )
