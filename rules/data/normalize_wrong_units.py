"""DAT010: statistics in other units than the pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import (
    Evidence,
    Finding,
    Severity,
)
from convlint.program.facts import ObjectKind
from convlint.rules import Rule
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

LARGEST_MEAN = 1.0
LARGEST_STD = 1.5
"""Values in [0, 1] deviate by half at most; the room is for deliberate shrinking."""


class NormalizeWrongUnits(Rule):
    """The statistics of `Normalize` are not in the units of the image.

    ## What it does
    Reports `Normalize` after `ToTensor` with a mean above 1 or a standard deviation above 1.5, and
    a standard deviation of zero.

    ## Why it hurts
    `ToTensor` scales pixels to [0, 1]. Statistics in units of 0 to 255 then shrink the whole image
    to nearly one value (about -2), and the model sees a constant; a zero divides.

    ## Example
        import torch
        from torch import nn

        from torch.utils.data import DataLoader
        from torchvision import datasets, transforms

        train_set = datasets.CIFAR10("data", train=True, transform=transforms.Compose([transforms.ToTensor(), transforms.Normalize((125.3, 123.0, 113.9), (63.0, 62.1, 66.7))]))
        model = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    ## Use instead
        import torch
        from torch import nn

        from torch.utils.data import DataLoader
        from torchvision import datasets, transforms

        train_set = datasets.CIFAR10("data", train=True, transform=transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.49, 0.48, 0.45), (0.25, 0.24, 0.26))]))
        model = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    ## When it is fine
    Pipelines that keep 0 to 255 (`PILToTensor`, `ToImage` without scaling).

    ## Measured
    `convlint probe` takes the mean and scale of every input.

    ## References
    - torchvision, `transforms.ToTensor` and `transforms.Normalize`
    """

    code, slug, severity = "DAT010", "normalize-wrong-units", Severity.ERROR
    confirmed_by = ("unnormalized-input",)

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

            scaled = False
            for step in steps:
                kind = step.cls.rpartition(".")[2]
                scaled = scaled or kind == "ToTensor" or _scales(step)
                if kind != "Normalize":
                    continue
                mean, std = _numbers(step, "mean"), _numbers(step, "std")
                if 0.0 in std:
                    what = "a standard deviation of 0 divides by zero"
                elif scaled and any(value > LARGEST_MEAN for value in mean):
                    what = f"a mean of {max(mean):g} lies outside the [0, 1] that ToTensor gives"
                elif scaled and any(value > LARGEST_STD for value in std):
                    what = (
                        f"a standard deviation of {max(std):g} is wider than the [0, 1] of ToTensor"
                    )
                else:
                    break
                if one_per_place(reported, step.location):
                    yield self.finding(
                        step.location,
                        what,
                        help="divide statistics in units of 0 to 255 by 255",
                        evidence=(Evidence("static", f"mean {mean}, std {std}"),),
                    )
                break


def _scales(step: Object) -> bool:
    """Whether this step divides 8-bit images by 255: the second version of ToTensor."""
    asked = step.args.get("scale")
    return step.cls.endswith(".ToDtype") and asked is not None and asked.constant is True


def _numbers(step: Object, name: str) -> tuple[float, ...]:
    """The statistics, as far as they are known."""
    value = step.args.get(name)
    if value is None:
        return ()
    if value.number is not None:
        return (value.number,)
    return value.numbers or ()
