"""LOP025: a script makes a single optimizer step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Confidence, Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns.paths import occurrences
from convlint.rules.patterns.training_loops import STEPS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.program.facts import TrainingProgram


class SingleUpdate(Rule):
    """A script makes a single optimizer step.

    ## What it does
    Reports a script whose only optimizer step stands outside of every loop.

    ## Why it hurts
    One step does not train. Most often the loop was forgotten, or the step stands below it by
    its indentation.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
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
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()

    ## When it is fine
    Functions, whose caller may loop, and scripts that step anywhere else are not reported.
    Demonstrations of one step are common, which is why the rule has to be selected.

    ## Measured
    Not measured: the fault is in the text, whatever a short run shows.

    ## References
    - NeuraLint, rule f022
    """

    code = "LOP025"
    slug = "single-update"
    severity = Severity.INFO
    confidence = Confidence.MEDIUM
    default = False

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report the step when it is the only one and nothing repeats it."""
        if program.managed:
            return
        steps = [
            (entry, o)
            for entry in program.entries
            for o in occurrences(entry.body)
            if o.kind in STEPS
        ]
        if len(steps) != 1:
            return
        entry, step = steps[0]
        if not entry.standalone and not step.loops and "closure" not in step.event.flags:
            yield self.finding(
                step.event.location,
                "this is the script's only step, and no loop repeats it",
                help="step inside the loop over batches",
            )
