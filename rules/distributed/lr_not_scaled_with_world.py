"""DST007: a learning rate for one process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import (
    Confidence,
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
    wrapped,
    wrappings,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import (
        TrainingProgram,
    )


class LrNotScaledWithWorld(Rule):
    """The learning rate does not know how many processes there are.

    ## What it does
    Reports SGD with a constant learning rate for a replicated model, when nothing in the project
    asks for the number of processes.

    ## Why it hurts
    The effective batch is the batch per process times their number. The linear rule keeps the
    learning rate per example: without it, eight processes make the same progress per step as one,
    and an epoch has an eighth of the steps.

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
            for x, y in loader:
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
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1 * torch.distributed.get_world_size())
        for epoch in range(10):
            sampler.set_epoch(epoch)
            for x, y in loader:
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(x), y)
                loss.backward()
                optimizer.step()

    ## When it is fine
    Adam and its relatives, for which the rule is weaker; a learning rate that was tuned for this
    number of processes.

    ## Measured
    Not measured.

    ## References
    - Goyal et al., Accurate, large minibatch SGD, 2017
    """

    code, slug, severity = "DST007", "lr-not-scaled-with-world", Severity.INFO
    default = False
    confidence = Confidence.MEDIUM
    unmeasured_because = "one process cannot see what the others do"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per optimizer."""
        if program.managed or program.attributes_read & {"get_world_size", "world_size"}:
            return
        replicated = {wrapped(call) for call in wrappings(program, DATA_PARALLEL)}
        reported: set[Location] = set()
        for optimizer in program.objects:
            if optimizer.cls != "torch.optim.SGD" or not replicated & set(
                optimizer.parameters_of or ()
            ):
                continue
            rate = optimizer.args.get("lr")
            written = rate is not None and rate.number is not None and rate.origin is not None
            if rate is None or not written or rate.origin is None or rate.origin.kind != "literal":
                continue
            if one_per_place(reported, optimizer.location):
                yield self.finding(
                    rate.location or optimizer.location,
                    "the learning rate is the same for any number of processes",
                    help="scale it with the number of processes, and warm up",
                    evidence=(Evidence("static", "a constant learning rate, no world size"),),
                )
