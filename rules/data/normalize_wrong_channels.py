"""DAT017: statistics for other channels than the image has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Evidence, Finding, Related, Severity
from convlint.program.facts import ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.datasets import (
    transform_steps,
)
from convlint.rules.patterns.flows import (
    objects_by_id,
    one_per_place,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import (
        Object,
        TrainingProgram,
    )
    from convlint.rules import Changes

CHANNELS = {
    "MNIST": 1, "FashionMNIST": 1, "KMNIST": 1, "QMNIST": 1, "EMNIST": 1, "USPS": 1, "Omniglot": 1,
    "CIFAR10": 3, "CIFAR100": 3, "SVHN": 3, "STL10": 3, "ImageNet": 3,
}  # fmt: skip
MNIST_MEAN = 0.1307


class NormalizeWrongChannels(Rule):
    """`Normalize` has statistics for another number of channels.

    ## What it does
    Reports `Normalize` with several statistics on a dataset of one channel, with neither one nor
    three on a colour dataset, and with the statistics of MNIST on colour images.

    ## Why it hurts
    One channel cannot be normalised with three means: the step raises, or gives three channels the
    model does not expect.

    ## Example
        import torch
        from torch import nn

        from torch.utils.data import DataLoader
        from torchvision import datasets, transforms

        train_set = datasets.MNIST("data", train=True, transform=transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.49, 0.48, 0.45), (0.25, 0.24, 0.26))]))
        model = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    ## Use instead
        import torch
        from torch import nn

        from torch.utils.data import DataLoader
        from torchvision import datasets, transforms

        train_set = datasets.MNIST("data", train=True, transform=transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))]))
        model = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    ## When it is fine
    `Grayscale(3)` or a repeat before it; one mean for all colours.

    ## Measured
    Not measured.

    ## References
    - torchvision, `transforms.Normalize`
    """

    code, slug, severity = "DAT017", "normalize-wrong-channels", Severity.ERROR
    fix = Applicability.UNSAFE
    unmeasured_because = "the probe sees batches, not how they were put together"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per step of a transform."""
        objects = objects_by_id(program)
        reported: set[Location] = set()
        for dataset in program.objects:
            steps = (
                transform_steps(objects, dataset) if dataset.kind is ObjectKind.DATASET else None
            )
            if steps is None:
                continue

            channels = CHANNELS.get(dataset.cls.rpartition(".")[2])
            if channels is None or not dataset.cls.startswith("torchvision.datasets."):
                continue
            for step in steps:
                kind = step.cls.rpartition(".")[2]
                if kind in ("Grayscale", "Lambda", "RGB"):
                    break
                if kind != "Normalize":
                    continue
                mean = step.args.get("mean")
                numbers = mean.numbers if mean is not None else None
                if numbers is None or not numbers:
                    break
                copied = channels == 3 and len(numbers) == 1 and abs(numbers[0] - MNIST_MEAN) < 1e-3
                if len(numbers) in (1, channels) and not copied:
                    break
                if one_per_place(reported, step.location):
                    name = dataset.cls.rpartition(".")[2]
                    yield self.finding(
                        step.location,
                        f"these are the statistics of MNIST, and {name} is not MNIST"
                        if copied
                        else f"{len(numbers)} statistics for the {channels} channel"
                        f"{'s' * (channels != 1)} of {name}",
                        help="use the statistics of the dataset, one per channel",
                        related=(Related(dataset.location, "the dataset"),),
                        severity=Severity.WARNING if copied else None,
                        evidence=(Evidence("static", f"mean {numbers}"),),
                        fix=self.repair(
                            f"use the statistics of {name}", _statistics(program, step, name)
                        ),
                    )
                break


STATISTICS = {
    "MNIST": ("(0.1307,)", "(0.3081,)"),
    "FashionMNIST": ("(0.2860,)", "(0.3530,)"),
    "CIFAR10": ("(0.4914, 0.4822, 0.4465)", "(0.2470, 0.2435, 0.2616)"),
    "CIFAR100": ("(0.5071, 0.4865, 0.4409)", "(0.2673, 0.2564, 0.2762)"),
}
"""Mean and standard deviation of the training images, in [0, 1]."""


def _statistics(program: TrainingProgram, step: Object, dataset: str) -> Changes:
    known = STATISTICS.get(dataset)
    if known is None:
        return None
    mean = edits.set_argument(program, step.location, "mean", known[0], 0)
    std = edits.set_argument(program, step.location, "std", known[1], 1)
    return None if mean is None or std is None else (*mean, *std)
