"""DST006: the same random numbers on every rank."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import (
    Confidence,
    Evidence,
    Finding,
    Related,
    Severity,
)
from convlint.program.facts import ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns.datasets import (
    is_random,
)
from convlint.rules.patterns.replicas import (
    unmanaged_replicas,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.program.facts import (
        TrainingProgram,
        Value,
    )


class SameSeedAllRanks(Rule):
    """All processes draw the same random numbers.

    ## What it does
    Reports `torch.manual_seed` with a constant in a script that replicates its model and augments
    its data at random.

    ## Why it hurts
    With one seed on all ranks, the augmentations and dropout masks of the replicas agree, and the
    average over them is less of an average.

    ## Example
        import torch
        from torch import nn
        from torch.nn.parallel import DistributedDataParallel
        from torch.utils.data import DataLoader, DistributedSampler
        from torchvision import datasets, transforms

        torch.manual_seed(0)
        data = datasets.CIFAR10("data", train=True, transform=transforms.Compose([transforms.RandomHorizontalFlip(), transforms.ToTensor()]))
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

        torch.manual_seed(torch.distributed.get_rank())
        data = datasets.CIFAR10("data", train=True, transform=transforms.Compose([transforms.RandomHorizontalFlip(), transforms.ToTensor()]))
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
    A seed that holds the rank; a seed for the initialisation that is changed afterwards.

    ## Measured
    Not measured.

    ## References
    - PyTorch, notes on reproducibility
    """

    code, slug, severity = "DST006", "same-seed-all-ranks", Severity.INFO
    default = False
    confidence = Confidence.MEDIUM
    unmeasured_because = "one process cannot see what the others do"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding, at the last seed."""
        wrapping = unmanaged_replicas(program)
        seeds = [call for call in program.calls if call.name == "torch.manual_seed"]
        random = any(
            item.kind is ObjectKind.TRANSFORM and is_random(item) for item in program.objects
        )
        if wrapping is None or not seeds or not random:
            return
        values = [value for call in seeds for value in call.args.values()]
        if all(value.number is not None and not _is_computed(value) for value in values):
            yield self.finding(
                seeds[-1].location,
                "every rank gets the same seed, and so the same augmentations",
                help="add the rank to the seed",
                related=(Related(wrapping.location, "the model is replicated here"),),
                evidence=(Evidence("static", "a constant seed"),),
            )


def _is_computed(value: Value) -> bool:
    """Whether the seed is the result of a computation, which may add the rank."""
    return value.origin is not None and value.origin.kind == "computed"
