"""DST001: a distributed sampler that never changes its order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Evidence, Finding, Related, Severity
from convlint.rules import Rule
from convlint.rules.patterns import statement_edits
from convlint.rules.patterns.datasets import (
    training_loader,
)
from convlint.rules.patterns.flows import (
    objects_by_id,
    one_per_place,
)
from convlint.rules.patterns.imported import uses_library
from convlint.rules.patterns.training_loops import training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import (
        Object,
        TrainingProgram,
    )
    from convlint.rules import Changes

SAMPLER = "torch.utils.data.DistributedSampler"


class SetEpochMissing(Rule):
    """The distributed sampler shuffles the same way in every epoch.

    ## What it does
    Reports a `DistributedSampler` that shuffles, in a training loop within a loop over epochs,
    when nothing calls `set_epoch`.

    ## Why it hurts
    The sampler seeds its permutation with its seed and the epoch, and the epoch stays 0 unless you
    say otherwise. Every epoch has the same batches in the same order, and every rank always sees
    the same part of the data.

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
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for epoch in range(10):
            sampler.set_epoch(epoch)
            for x, y in loader:
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(x), y)
                loss.backward()
                optimizer.step()

    ## When it is fine
    `shuffle=False`; loaders a framework prepared, which sets the epoch itself; a sampler handed to
    code that cannot be read.

    ## Measured
    Not measured.

    ## References
    - PyTorch, `torch.utils.data.distributed.DistributedSampler`: the warning on set_epoch
    """

    code, slug, severity = "DST001", "set-epoch-missing", Severity.WARNING
    fix = Applicability.UNSAFE
    unmeasured_because = "one process cannot see what the others do"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per sampler."""
        if program.managed or "set_epoch" in program.attributes_read:
            return
        if uses_library(program, "accelerate", "lightning", "pytorch_lightning", "ignite"):
            return
        objects = objects_by_id(program)
        reported: set[Location] = set()
        for loop in training_loops(program):
            loader = training_loader(objects, loop.loop)
            value = loader.args.get("sampler") if loader is not None else None
            sampler = (
                objects.get(value.object)
                if value is not None and value.object is not None
                else None
            )
            if sampler is None or sampler.cls != SAMPLER or sampler.escaped or not loop.around:
                continue
            shuffle = sampler.args.get("shuffle")
            if "**" in sampler.args or (shuffle is not None and shuffle.constant is not True):
                continue
            if one_per_place(reported, sampler.location):
                yield self.finding(
                    sampler.location,
                    "nothing calls set_epoch: the sampler gives the same order in every epoch",
                    help="call `sampler.set_epoch(epoch)` at the start of every epoch",
                    related=(Related(loop.around[-1].location, "the loop over epochs"),),
                    fix=self.repair(
                        "tell the sampler each epoch",
                        _told(program, sampler, loop.around[-1].location),
                    ),
                    evidence=(Evidence("static", "no set_epoch in the project"),),
                )


def _told(program: TrainingProgram, sampler: Object, epochs: Location) -> Changes:
    """``sampler.set_epoch(epoch)`` first in the loop over epochs, by the names both have there."""
    made, loop = (
        statement_edits.own_statement(program, sampler.location),
        statement_edits.compound_at(program, epochs),
    )
    if made is None or loop is None or loop.kind != "For" or len(made.targets) != 1:
        return None
    if made.function not in (None, loop.function) or not loop.targets[0].isidentifier():
        return None
    code = f"{made.targets[0]}.set_epoch({loop.targets[0]})"
    return statement_edits.insert_at_start(program, loop, code)
