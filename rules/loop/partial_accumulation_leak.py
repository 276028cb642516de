"""LOP024: gradients of the last batches leak into the next epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Confidence, Finding, Severity
from convlint.program.facts import EventKind
from convlint.rules import Rule
from convlint.rules.patterns.loops import clearings, steps_of
from convlint.rules.patterns.ownership import is_managed, sole_optimizer
from convlint.rules.patterns.paths import occurrences
from convlint.rules.patterns.training_loops import STEPS, training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.program.facts import TrainingProgram
    from convlint.rules.patterns.paths import Occurrence


class PartialAccumulationLeak(Rule):
    """Gradients of an epoch's last batches leak into the next epoch.

    ## What it does
    Reports accumulation under `if i % k == 0` in an epoch loop where nothing steps or clears
    after the last batches.

    ## Why it hurts
    When the number of batches is no multiple of k, the gradients of the rest stay and are added
    to the first step of the next epoch, computed with older weights.

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
            for i, (x, y) in enumerate(loader):
                loss = criterion(model(x), y) / 4
                loss.backward()
                if (i + 1) % 4 == 0:
                    optimizer.step()
                    optimizer.zero_grad()

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
            optimizer.zero_grad()
            for i, (x, y) in enumerate(loader):
                loss = criterion(model(x), y) / 4
                loss.backward()
                if (i + 1) % 4 == 0 or i + 1 == len(loader):
                    optimizer.step()
                    optimizer.zero_grad()

    ## When it is fine
    A step or clear between epochs and a test for the last batch are not reported. The effect is
    small, which is why the rule has to be selected.

    ## Measured
    Not measured: the probe stops before the first epoch ends.

    ## References
    - Hugging Face Accelerate documentation, "Performing gradient accumulation"
    """

    code = "LOP024"
    slug = "partial-accumulation-leak"
    severity = Severity.INFO
    confidence = Confidence.MEDIUM
    default = False

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report steps that only a count decides, in an epoch loop without any clear of its own."""
        for loop in training_loops(program):
            if is_managed(program, loop) or loop.epoch_loop is None:
                continue
            for optimizer in loop.optimizers:
                steps, cleared = steps_of(loop, optimizer), clearings(program, loop, optimizer)
                if not sole_optimizer(loop, optimizer) or not steps or not cleared:
                    continue
                if not all(o.modulo and not _names_the_last(o) for o in (*steps, *cleared)):
                    continue
                outside = [
                    o
                    for o in occurrences(loop.epoch_loop.body)
                    if loop.loop.id not in o.loops and o.kind in (EventKind.ZERO_GRAD, *STEPS)
                ]
                if not outside:
                    yield self.finding(
                        steps[0].event.location,
                        "gradients of the batches after the last step stay until the next epoch",
                        help="step after the last batch too, or clear before each epoch",
                    )


def _names_the_last(occurrence: Occurrence) -> bool:
    return any(" or " in c.text or "len(" in c.text for c in occurrence.conditions)
