"""DAT018: evaluation on another scale than training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import (
    Evidence,
    Finding,
    Related,
    Severity,
)
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

ROUNDING = 0.02
"""Statistics are often rounded to two digits."""


class TrainAndEvalNormalisedDifferently(Rule):
    """Training and evaluation data are normalised with different statistics.

    ## What it does
    Reports `Normalize` with other numbers for the training part than for the evaluation part of
    one torchvision dataset.

    ## Why it hurts
    The model meets shifted and rescaled inputs when it is evaluated: part of what looks like a gap
    of generalisation is this difference.

    ## Example
        import torch
        from torch import nn

        from torch.utils.data import DataLoader
        from torchvision import datasets, transforms

        train_set = datasets.CIFAR10("data", train=True, transform=transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.49, 0.48, 0.45), (0.25, 0.24, 0.26))]))
        test_set = datasets.CIFAR10("data", train=False, transform=transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))]))
        model = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    ## Use instead
        import torch
        from torch import nn

        from torch.utils.data import DataLoader
        from torchvision import datasets, transforms

        train_set = datasets.CIFAR10("data", train=True, transform=transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.49, 0.48, 0.45), (0.25, 0.24, 0.26))]))
        test_set = datasets.CIFAR10("data", train=False, transform=transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.49, 0.48, 0.45), (0.25, 0.24, 0.26))]))
        model = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    ## When it is fine
    Differences in the last digit.

    ## Measured
    Not measured.

    ## References
    - torchvision, `transforms.Normalize`
    """

    code, slug, severity = "DAT018", "train-and-eval-normalised-differently", Severity.WARNING
    unmeasured_because = "the probe sees batches, not how they were put together"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per evaluation dataset."""
        objects = objects_by_id(program)
        reported: set[Location] = set()
        found = [
            (dataset, step)
            for dataset in program.objects
            if dataset.cls.startswith("torchvision.datasets.")
            for step in transform_steps(objects, dataset) or ()
            if step.cls.endswith(".Normalize")
        ]
        training = [
            (d, s)
            for d, s in found
            if (t := d.args.get("train")) is not None and t.constant is True
        ]
        held_out = [
            (d, s)
            for d, s in found
            if (t := d.args.get("train")) is not None and t.constant is False
        ]
        for dataset, step in held_out:
            others = [
                other
                for d, other in training
                if d.cls == dataset.cls and d.within == dataset.within
            ]
            if not others or not all(_differ(step, other) for other in others):
                continue
            if one_per_place(reported, step.location):
                yield self.finding(
                    step.location,
                    f"{dataset.cls.rpartition('.')[2]} is normalised with other statistics here than "
                    "for training",
                    help="use the statistics of the training data for both",
                    related=(Related(others[0].location, "the statistics of training"),),
                    evidence=(Evidence("static", "different mean or standard deviation"),),
                )


def _differ(one: Object, other: Object) -> bool:
    for name in ("mean", "std"):
        mine, theirs = one.args.get(name), other.args.get(name)
        a = mine.numbers if mine is not None else None
        b = theirs.numbers if theirs is not None else None
        if not a or not b:
            return False
        if len(a) == len(b) and any(abs(x - y) > ROUNDING for x, y in zip(a, b, strict=True)):
            return True
    return False
