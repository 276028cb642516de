"""DAT011: colours changed after normalisation."""

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

ON_UNIT_RANGE = frozenset(
    {"ColorJitter", "RandomGrayscale", "AutoAugment", "RandAugment", "TrivialAugmentWide", "AugMix",
     "RandomPosterize", "RandomSolarize", "RandomEqualize", "RandomAutocontrast", "RandomInvert",
     "RandomPhotometricDistort"}
)  # fmt: skip


class AugmentAfterNormalize(Rule):
    """Colours are augmented after the image was normalised.

    ## What it does
    Reports colour augmentation, greyscale conversion or an automatic augmentation policy after
    `Normalize`.

    ## Why it hurts
    These steps expect pixels in [0, 1] and clamp to that range. After `Normalize` half of the
    values are negative and are cut off.

    ## Example
        import torch
        from torch import nn

        from torch.utils.data import DataLoader
        from torchvision import datasets, transforms

        train_set = datasets.CIFAR10("data", train=True, transform=transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.49, 0.48, 0.45), (0.25, 0.24, 0.26)), transforms.ColorJitter(0.4, 0.4, 0.4)]))
        model = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    ## Use instead
        import torch
        from torch import nn

        from torch.utils.data import DataLoader
        from torchvision import datasets, transforms

        train_set = datasets.CIFAR10("data", train=True, transform=transforms.Compose([transforms.ColorJitter(0.4, 0.4, 0.4), transforms.ToTensor(), transforms.Normalize((0.49, 0.48, 0.45), (0.25, 0.24, 0.26))]))
        model = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    ## When it is fine
    Geometric steps and `RandomErasing`, which do not mind.

    ## Measured
    Not measured.

    ## References
    - torchvision, `transforms.ColorJitter`: float images are expected in [0, 1]
    """

    code, slug, severity = "DAT011", "augment-after-normalize", Severity.WARNING
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

            normalised: Object | None = None
            for step in steps:
                kind = step.cls.rpartition(".")[2]
                if kind == "Normalize":
                    normalised = step
                elif (
                    kind in ON_UNIT_RANGE
                    and normalised is not None
                    and one_per_place(reported, step.location)
                ):
                    yield self.finding(
                        step.location,
                        f"{kind} expects pixels in [0, 1], and comes after Normalize",
                        help="move it before Normalize",
                        related=(Related(normalised.location, "the normalisation"),),
                        evidence=(Evidence("static", f"Normalize → {kind}"),),
                        fix=self.repair(
                            "move it before Normalize",
                            edits.move_element(program, step.location, normalised.location),
                        ),
                    )
