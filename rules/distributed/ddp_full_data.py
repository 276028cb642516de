"""DST002: every rank trains on all the data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import (
    Confidence,
    Evidence,
    Finding,
    Related,
    Severity,
)
from convlint.rules import Rule
from convlint.rules.patterns.datasets import (
    dataset_of,
    training_loader,
)
from convlint.rules.patterns.flows import (
    objects_by_id,
    one_per_place,
)
from convlint.rules.patterns.replicas import (
    DATA_PARALLEL,
    unmanaged_replicas,
    wrapped,
    wrappings,
)
from convlint.rules.patterns.training_loops import STEPS, stepped_optimizer, training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import (
        TrainingProgram,
    )

DIVIDING = frozenset({"split_dataset_by_node", "shard", "skip", "get_rank", "prepare"})
"""Names by which a project divides its data among the ranks."""


class DdpFullData(Rule):
    """Each process trains on the whole data set.

    ## What it does
    Reports a model wrapped in `DistributedDataParallel` that is trained on a plain shuffling
    `DataLoader` over a map-style dataset, without a sampler that divides the data.

    ## Why it hurts
    Every rank goes through all the data: an epoch costs as many times the work as there are ranks.
    With the same seed on all of them the batches are even identical, and the extra processes add
    nothing.

    ## Example
        import torch
        from torch import nn
        from torch.nn.parallel import DistributedDataParallel
        from torch.utils.data import DataLoader, DistributedSampler
        from torchvision import datasets, transforms

        data = datasets.CIFAR10("data", train=True, transform=transforms.ToTensor())
        loader = DataLoader(data, batch_size=32, shuffle=True)
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
    Iterable datasets that divide themselves by rank; data split by hand; frameworks that prepare
    the loader.

    ## Measured
    Under `torchrun`, `ranks-see-same-data` confirms it where the batches are the same on all ranks.

    ## References
    - PyTorch, `DistributedDataParallel`
    - PyTorch, `torch.utils.data.distributed.DistributedSampler`
    """

    code, slug, severity = "DST002", "ddp-full-data", Severity.WARNING
    confidence = Confidence.MEDIUM
    confirmed_by = ("ranks-see-same-data",)

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per loader."""
        wrapping = unmanaged_replicas(program)
        if wrapping is None or program.attributes_read & DIVIDING:
            return
        objects = objects_by_id(program)
        replicated = {wrapped(call) for call in wrappings(program, DATA_PARALLEL)}
        reported: set[Location] = set()
        for loop in training_loops(program):
            loader = training_loader(objects, loop.loop)
            if loader is None or loader.cls != "torch.utils.data.DataLoader" or "**" in loader.args:
                continue
            if any(name in loader.args for name in ("sampler", "batch_sampler")):
                continue
            dataset = dataset_of(objects, loader)
            if dataset is None or not dataset.cls.startswith("torchvision.datasets."):
                continue
            trained = {
                n
                for o in loop.occurrences
                if o.kind in STEPS and (number := stepped_optimizer(o.event)) is not None
                for n in (objects[number].parameters_of or ())
            }
            if trained & replicated and one_per_place(reported, loader.location):
                yield self.finding(
                    loader.location,
                    "every rank goes through the whole data set: the loader has no distributed sampler",
                    help="pass `sampler=DistributedSampler(dataset)` and leave `shuffle` out",
                    related=(Related(wrapping.location, "the model is replicated here"),),
                    evidence=(Evidence("static", "DistributedDataParallel, and no sampler"),),
                )
