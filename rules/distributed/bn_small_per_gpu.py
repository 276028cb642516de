"""DST005: batch statistics of a few examples per device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Confidence, Evidence, Finding, Related, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.applied import is_batch_norm
from convlint.rules.patterns.datasets import (
    training_loader,
)
from convlint.rules.patterns.flows import (
    objects_by_id,
    one_per_place,
)
from convlint.rules.patterns.replicas import (
    DATA_PARALLEL,
    wrapped,
    wrappings,
)
from convlint.rules.patterns.training_loops import training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import (
        Call,
        TrainingProgram,
    )
    from convlint.rules import Changes

FEWEST = 8
"""Below eight examples the error of group normalisation is lower (Wu and He, figure 1)."""


class BnSmallPerGpu(Rule):
    """Batch normalisation sees only the few examples of one device.

    ## What it does
    Reports a replicated model with batch normalisation trained with fewer than 8 examples per
    process and no conversion to `SyncBatchNorm`.

    ## Why it hurts
    Each replica normalises with its own few examples. The statistics are noisy, differ between
    replicas, and only those of rank 0 are saved.

    ## Example
        import torch
        from torch import nn
        from torch.nn.parallel import DistributedDataParallel
        from torch.utils.data import DataLoader, DistributedSampler
        from torchvision import datasets, transforms

        data = datasets.CIFAR10("data", train=True, transform=transforms.ToTensor())
        sampler = DistributedSampler(data)
        loader = DataLoader(data, batch_size=4, sampler=sampler)
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(7200, 10))
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
        loader = DataLoader(data, batch_size=4, sampler=sampler)
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(7200, 10))
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
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
    Synchronised or frozen statistics; larger batches.

    ## Measured
    Not measured.

    ## References
    - Wu and He, Group normalization, ECCV 2018
    """

    code, slug, severity = "DST005", "bn-small-per-gpu", Severity.INFO
    fix = Applicability.UNSAFE
    default = False
    confidence = Confidence.MEDIUM
    unmeasured_because = "one process cannot see what the others do"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per wrapping."""
        if program.attributes_read & {"convert_sync_batchnorm", "convert_syncbn_model"}:
            return
        objects = objects_by_id(program)
        layers = {model.object: model.layers for model in program.models}
        small = [
            loader
            for loop in training_loops(program)
            if (loader := training_loader(objects, loop.loop)) is not None
            and (size := loader.args.get("batch_size")) is not None
            and 0 < (size.number or 0) < FEWEST
        ]
        reported: set[Location] = set()
        for call in wrappings(program, DATA_PARALLEL):
            module = wrapped(call)
            normalises = module is not None and any(
                is_batch_norm(objects[n]) for n in layers.get(module, ()) if n in objects
            )
            if small and normalises and one_per_place(reported, call.location):
                yield self.finding(
                    call.location,
                    f"batch normalisation sees fewer than {FEWEST} examples per process",
                    help="convert with nn.SyncBatchNorm.convert_sync_batchnorm, or raise the batch",
                    related=(Related(small[0].location, "the loader"),),
                    fix=self.repair(
                        "share the statistics between processes", _synchronised(program, call)
                    ),
                    evidence=(Evidence("static", "small batch, no SyncBatchNorm"),),
                )


def _synchronised(program: TrainingProgram, wrapping: Call) -> Changes:
    """``DDP(model)`` to ``DDP(nn.SyncBatchNorm.convert_sync_batchnorm(model))``."""
    call = edits.call_at(program, wrapping.location)
    model = None if call is None else call.argument("module", 0)
    name = edits.name_for(
        program, wrapping.location, "torch.nn.SyncBatchNorm.convert_sync_batchnorm"
    )
    if model is None or name is None:
        return None
    return ((edits.wrap(model.value, f"{name[0]}(", ")")) or ()) + name[1]
