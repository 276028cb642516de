"""AMP005: backward runs inside the autocast region."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Finding, Severity
from convlint.program.facts import EventKind
from convlint.rules import Rule
from convlint.rules.patterns import statement_edits
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.training_loops import training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram


class BackwardInAutocast(Rule):
    """The backward pass runs inside the autocast region.

    ## What it does
    Reports a `backward()` under `autocast`.

    ## Why it hurts
    Backward operations run in the precision their forward used anyway. Inside the region, code
    that runs during backward (hooks, checkpointing, custom functions) is cast once more;
    PyTorch advises against it.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2)).cuda()
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scaler = torch.amp.GradScaler("cuda")
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                with torch.autocast("cuda", dtype=torch.float16):
                    loss = criterion(model(x.cuda()), y.cuda())
                    scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()

    ## Use instead
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2)).cuda()
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scaler = torch.amp.GradScaler("cuda")
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                with torch.autocast("cuda", dtype=torch.float16):
                    loss = criterion(model(x.cuda()), y.cuda())
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()

    ## When it is fine
    It often does no harm, which is why the rule has to be selected.

    ## Measured
    Not measured: a machine without the device does not run in half precision.

    ## References
    - PyTorch notes, "Automatic Mixed Precision examples"
    """

    code = "AMP005"
    slug = "backward-in-autocast"
    severity = Severity.WARNING
    fix = Applicability.UNSAFE
    default = False
    unmeasured_because = "a machine without the device does not run in half precision"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report every backward under autocast."""
        places: set[Location] = set()
        for loop in training_loops(program):
            for backward in loop.of_kind(EventKind.BACKWARD):
                inside = "autocast" in backward.event.context
                if inside and one_per_place(places, backward.event.location):
                    yield self.finding(
                        backward.event.location,
                        "this backward runs inside the autocast region",
                        help="end the region after the loss",
                        fix=self.repair(
                            "end the region before the backward",
                            statement_edits.end_block_before(
                                program,
                                statement_edits.own_statement(program, backward.event.location),
                            ),
                        ),
                    )
