"""DAT016: one example per step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import (
    Confidence,
    Evidence,
    Finding,
    Severity,
)
from convlint.rules import Rule
from convlint.rules.patterns.datasets import (
    training_loader,
)
from convlint.rules.patterns.flows import (
    objects_by_id,
    one_per_place,
)
from convlint.rules.patterns.imported import uses_library
from convlint.rules.patterns.training_loops import STEPS, stepped_optimizer, training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import (
        TrainingProgram,
    )

ONE_BY_ONE = (
    "torchvision.models.detection", "detectron2", "mmdet", "ultralytics",
    "gym", "gymnasium", "torch_geometric", "dgl",
)  # fmt: skip
"""Images of different sizes, episodes and graphs come one at a time."""
LARGE = 1e-3
"""With smaller rates the steps average over many examples."""


class BatchOne(Rule):
    """The training batch holds a single example.

    ## What it does
    Reports a training loop over a `DataLoader` with `batch_size=1` (given or by default), without
    accumulation, at a learning rate of 0.001 or more.

    ## Why it hurts
    The gradient of one example is mostly noise: the steps point everywhere, the loss jumps, and
    the hardware idles.

    ## Example
        import torch
        from torch import nn

        from torch.utils.data import DataLoader, TensorDataset

        loader = DataLoader(TensorDataset(torch.randn(512, 8), torch.randint(0, 2, (512,))), shuffle=True)
        model = nn.Linear(8, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for x, y in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()

    ## Use instead
        import torch
        from torch import nn

        from torch.utils.data import DataLoader, TensorDataset

        loader = DataLoader(TensorDataset(torch.randn(512, 8), torch.randint(0, 2, (512,))), batch_size=32, shuffle=True)
        model = nn.Linear(8, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for x, y in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()

    ## When it is fine
    Graphs, detection and reinforcement learning; accumulated gradients.

    ## Measured
    `gradient-noise-dominated` confirms it where the gradient of one example is mostly noise.

    ## References
    - McCandlish et al., An empirical model of large-batch training, 2018
    """

    code, slug, severity = "DAT016", "batch-one", Severity.INFO
    default = False
    confidence = Confidence.MEDIUM
    confirmed_by = ("gradient-noise-dominated",)

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per loader."""
        if uses_library(program, *ONE_BY_ONE):
            return
        objects = objects_by_id(program)
        reported: set[Location] = set()
        for loop in training_loops(program):
            loader = training_loader(objects, loop.loop)
            size = loader.args.get("batch_size") if loader is not None else None
            if loader is None or loader.cls != "torch.utils.data.DataLoader" or size is None:
                continue
            steps = [o for o in loop.occurrences if o.kind in STEPS]
            if size.number != 1 or any(o.conditional for o in steps) or "**" in loader.args:
                continue
            if any(name in loader.args for name in ("batch_sampler", "collate_fn")):
                continue
            rates = []
            for occurrence in steps:
                number = stepped_optimizer(occurrence.event)
                rate = objects[number].args.get("lr") if number is not None else None
                rates.append(rate.number if rate is not None else None)
            if any(rate is None or rate < LARGE for rate in rates):
                continue
            if one_per_place(reported, loader.location):
                yield self.finding(
                    loader.location,
                    "every step follows the gradient of a single example",
                    help="raise batch_size, or accumulate gradients",
                    evidence=(Evidence("static", "batch_size is 1"),),
                )
