"""DST008: gradients exchanged for nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import (
    Confidence,
    Evidence,
    Finding,
    Related,
    Severity,
)
from convlint.program.facts import EventKind
from convlint.rules import Rule
from convlint.rules.patterns.flows import (
    one_per_place,
)
from convlint.rules.patterns.replicas import (
    unmanaged_replicas,
)
from convlint.rules.patterns.training_loops import STEPS, training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import (
        TrainingProgram,
    )


class AccumulateWithoutNoSync(Rule):
    """Gradients are reduced over the processes at every micro-batch.

    ## What it does
    Reports a replicated model whose optimizer steps only every k batches, when nothing uses
    `no_sync()`.

    ## Why it hurts
    The result is right; but every backward exchanges all gradients, and all but the last exchange
    of a step are wasted.

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
        model = DistributedDataParallel(model)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for epoch in range(10):
            sampler.set_epoch(epoch)
            for step, (x, y) in enumerate(loader):
                loss = nn.functional.cross_entropy(model(x), y)
                loss.backward()
                if step % 4 == 3:
                    optimizer.step()
                    optimizer.zero_grad()

    ## Use instead
        from contextlib import nullcontext

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
            for step, (x, y) in enumerate(loader):
                with model.no_sync() if step % 4 != 3 else nullcontext():
                    loss = nn.functional.cross_entropy(model(x), y)
                    loss.backward()
                if step % 4 == 3:
                    optimizer.step()
                    optimizer.zero_grad()

    ## When it is fine
    FSDP2 and accelerate, which have their own switch.

    ## Measured
    Not measured.

    ## References
    - PyTorch, `DistributedDataParallel.no_sync`
    """

    code, slug, severity = "DST008", "accumulate-without-no-sync", Severity.INFO
    default = False
    confidence = Confidence.MEDIUM
    unmeasured_because = "one process cannot see what the others do"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per training loop."""
        if unmanaged_replicas(program) is None:
            return
        if program.attributes_read & {"no_sync", "require_backward_grad_sync", "accumulate"}:
            return
        reported: set[Location] = set()
        for loop in training_loops(program):
            steps = [o for o in loop.occurrences if o.kind in STEPS]
            backwards = loop.of_kind(EventKind.BACKWARD)
            if (
                not steps
                or not all(o.modulo for o in steps)
                or any(o.conditional for o in backwards)
            ):
                continue
            location = backwards[0].event.location
            if one_per_place(reported, location):
                yield self.finding(
                    location,
                    "every micro-batch reduces the gradients over all processes",
                    help="put all but the last backward of a step under `model.no_sync()`",
                    related=(Related(steps[0].event.location, "the optimizer steps only here"),),
                    evidence=(Evidence("static", "steps under a modulo, no no_sync"),),
                )
