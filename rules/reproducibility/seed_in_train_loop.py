"""REP002: the random seed is set again in every training step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns import statement_edits
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.seeds import SEEDING
from convlint.rules.patterns.training_loops import training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import Loop, TrainingProgram
    from convlint.rules.patterns.training_loops import TrainingLoop


class SeedInTrainLoop(Rule):
    """The random seed is set to the same constant inside the training loop.

    ## What it does
    Reports `torch.manual_seed`, `numpy.random.seed` and their like with a
    constant inside a training loop or the epoch loop around it.

    ## Why it hurts
    Every step draws the same dropout mask, the same noise and the same augmentations, and every
    epoch the same order of batches. Randomness that was meant to regularise becomes a fixed
    pattern that the model can learn.

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
            torch.manual_seed(0)
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
    A seed that depends on the epoch or step, loops over several runs, seeds before an
    evaluation or for drawing samples: none is reported.

    ## Measured
    Not measured: over the few steps of a probe repeated draws cannot be told from chance.

    ## References
    - PyTorch documentation, "Reproducibility"
    """

    code = "REP002"
    slug = "seed-in-train-loop"
    severity = Severity.WARNING
    fix = Applicability.UNSAFE

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report constant seeds in the loops of a training."""
        places: set[Location] = set()
        nests = {
            loop.id: loop
            for found in training_loops(program)
            for loop in found.nest[-2:]
            if _goes_on(found, loop)
        }
        for call in program.calls:
            if call.name not in SEEDING or not call.loops or call.loops[-1] not in nests:
                continue
            seed = next(iter(call.args.values()), None)
            if seed is None or seed.number is None or "no_grad" in call.context:
                continue
            if not call.conditional and one_per_place(places, call.location):
                yield self.finding(
                    call.location,
                    "the seed is set to the same number in every iteration, so each one draws the "
                    "same random numbers",
                    help="set it once, before the loops",
                    fix=self.repair(
                        "set it once, before the loops",
                        statement_edits.hoist(program, call.location, outermost=True),
                    ),
                )


def _goes_on(found: TrainingLoop, loop: Loop) -> bool:
    """Whether the loop continues a training rather than starting one per iteration."""
    made_outside = loop is found.loop or not any(
        word in loop.index.lower() for word in ("seed", "run", "fold", "trial", "repeat")
    )
    return made_outside and loop.trips.number != 1
