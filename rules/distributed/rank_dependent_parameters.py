"""DST010: layers that exist on one rank only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import (
    Evidence,
    Finding,
    Severity,
)
from convlint.rules import Rule
from convlint.rules.patterns.flows import (
    objects_by_id,
    one_per_place,
)
from convlint.rules.patterns.layers import (
    canonical,
    is_weight_layer,
)
from convlint.rules.patterns.replicas import (
    DATA_PARALLEL,
    only_on_one_rank,
    wrapped,
    wrappings,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import (
        TrainingProgram,
    )


class RankDependentParameters(Rule):
    """A layer is added on one process only.

    ## What it does
    Reports a layer with weights that is constructed and registered under `if rank == 0` (or
    `is_main_process`) in a script that replicates its model.

    ## Why it hurts
    The replicas then have different parameters: the collective operations hang or reduce the wrong
    pairs.

    ## Example
        import torch
        from torch import nn
        from torch.nn.parallel import DistributedDataParallel
        from torch.utils.data import DataLoader, DistributedSampler
        from torchvision import datasets, transforms

        rank = torch.distributed.get_rank()
        data = datasets.CIFAR10("data", train=True, transform=transforms.ToTensor())
        sampler = DistributedSampler(data)
        loader = DataLoader(data, batch_size=32, sampler=sampler)
        model = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
        if rank == 0:
            model.add_module("extra", nn.Linear(10, 10))
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
        model.add_module("extra", nn.Linear(10, 10))
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
    Saving, logging and evaluation on one rank; weights set on rank 0 before the model is wrapped,
    which broadcasts them.

    ## Measured
    Not measured.

    ## References
    - PyTorch, `DistributedDataParallel`: all processes must register the same parameters
    """

    code, slug, severity = "DST010", "rank-dependent-parameters", Severity.ERROR
    unmeasured_because = "one process cannot see what the others do"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per layer."""
        objects = objects_by_id(program)
        replicated = {wrapped(call) for call in wrappings(program, DATA_PARALLEL)}
        reported: set[Location] = set()
        for number in replicated:
            model = objects.get(-1 if number is None else number)
            if model is None or only_on_one_rank(model.conditions):
                continue
            for child in model.children.values():
                layer = objects[child]
                if not is_weight_layer(canonical(layer.cls)) or not only_on_one_rank(
                    layer.conditions
                ):
                    continue
                if one_per_place(reported, layer.location):
                    yield self.finding(
                        layer.location,
                        "this layer exists on one rank only",
                        help="build the same model on every rank",
                        evidence=(Evidence("static", f"under `{layer.conditions[-1]}`"),),
                    )
