"""DST003: a model wrapped again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import (
    Evidence,
    Finding,
    Severity,
)
from convlint.rules import Rule
from convlint.rules.patterns.flows import (
    one_per_place,
)
from convlint.rules.patterns.replicas import (
    DATA_PARALLEL,
    wrappings,
)
from convlint.rules.patterns.training_loops import training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import (
        TrainingProgram,
    )


class DdpMutated(Rule):
    """The model is wrapped in DistributedDataParallel inside the training loop.

    ## What it does
    Reports `DistributedDataParallel(...)` in a loop that also computes gradients and steps.

    ## Why it hurts
    Each wrapping broadcasts all weights, builds new buckets and registers another set of hooks on
    the parameters: gradients are reduced several times, memory grows, and the steps get slower.

    ## Example
        import torch
        from torch import nn
        from torch.nn.parallel import DistributedDataParallel
        from torch.utils.data import DataLoader, DistributedSampler
        from torchvision import datasets, transforms

        data = datasets.CIFAR10("data", train=True, transform=transforms.ToTensor())
        sampler = DistributedSampler(data)
        loader = DataLoader(data, batch_size=32, sampler=sampler)
        model = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for epoch in range(10):
            sampler.set_epoch(epoch)
            for x, y in loader:
                model = DistributedDataParallel(model)
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(x), y)
                loss.backward()
                optimizer.step()

    ## Use instead
        import torch
        from torch import nn
        from torch.nn.parallel import DistributedDataParallel
        from torch.utils.data import DataLoader, DistributedSampler
        from torchvision import datasets, transforms

        data = datasets.CIFAR10("data", train=True, transform=transforms.ToTensor())
        sampler = DistributedSampler(data)
        loader = DataLoader(data, batch_size=32, sampler=sampler)
        model = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
        model = DistributedDataParallel(model)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for epoch in range(10):
            sampler.set_epoch(epoch)
            for x, y in loader:
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(x), y)
                loss.backward()
                optimizer.step()

    ## When it is fine
    One wrapping per model, also within a loop over folds or tasks.

    ## Measured
    Not measured.

    ## References
    - pytorch/pytorch issue 104336
    """

    code, slug, severity = "DST003", "ddp-mutated", Severity.ERROR
    unmeasured_because = "one process cannot see what the others do"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per wrapping in a training loop."""
        training = {loop.loop.id for loop in training_loops(program)}
        reported: set[Location] = set()
        for call in wrappings(program, DATA_PARALLEL):
            if training.intersection(call.loops) and one_per_place(reported, call.location):
                yield self.finding(
                    call.location,
                    "the model is wrapped anew in every iteration of the training loop",
                    help="wrap it once, before the loop",
                    evidence=(
                        Evidence("static", "DistributedDataParallel(...) in a training loop"),
                    ),
                )
