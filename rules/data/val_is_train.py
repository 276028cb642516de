"""DAT007: validation on the training data."""

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
    dataset_of,
    is_training,
    named_for_evaluation,
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


class ValIsTrain(Rule):
    """The validation loader reads the training data.

    ## What it does
    Reports a loader named for validation or test whose dataset is the very object the training
    loader reads, or a torchvision dataset with `train=True`.

    ## Why it hurts
    The validation metric then is the training metric: overfitting cannot be seen, and every choice
    made by it is wrong.

    ## Example
        import torch
        from torch import nn

        from torch.utils.data import DataLoader
        from torchvision import datasets, transforms

        train_set = datasets.CIFAR10("data", train=True, transform=transforms.Compose([transforms.ToTensor()]))
        train_loader = DataLoader(train_set, batch_size=64, shuffle=True)
        val_loader = DataLoader(train_set, batch_size=64)

    ## Use instead
        import torch
        from torch import nn

        from torch.utils.data import DataLoader
        from torchvision import datasets, transforms

        train_set = datasets.CIFAR10("data", train=True, transform=transforms.Compose([transforms.ToTensor()]))
        val_set = datasets.CIFAR10("data", train=False, transform=transforms.Compose([transforms.ToTensor()]))
        train_loader = DataLoader(train_set, batch_size=64, shuffle=True)
        val_loader = DataLoader(val_set, batch_size=64)

    ## When it is fine
    Parts made by `random_split` or `Subset`; loaders with samplers; a loader that evaluates on the
    training data and says so by its name.

    ## Measured
    Not measured.

    ## References
    - Goodfellow, Bengio and Courville, Deep learning, section 5.3
    """

    code, slug, severity = "DAT007", "val-is-train", Severity.ERROR
    unmeasured_because = "the probe sees batches, not how they were put together"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per evaluation loader."""
        objects = objects_by_id(program)
        reported: set[Location] = set()
        loaders = [
            item
            for item in program.objects
            if item.cls == "torch.utils.data.DataLoader" and not _samples(item)
        ]
        trained = {
            dataset.id
            for loader in loaders
            if is_training(objects, loader) and (dataset := dataset_of(objects, loader)) is not None
        }
        for loader in loaders:
            dataset = dataset_of(objects, loader)
            if dataset is None or not named_for_evaluation(loader) or loader.same_as is not None:
                continue
            whole = dataset.args.get("train")
            declared = (
                dataset.cls.startswith("torchvision.datasets.")
                and whole is not None
                and whole.constant is True
                and whole.origin is not None
                and whole.origin.kind == "literal"
            )
            if not (
                dataset.id in trained
                or (declared and trained and not named_for_evaluation(dataset))
            ):
                continue
            if one_per_place(reported, loader.location):
                yield self.finding(
                    loader.location,
                    "this evaluation loader reads the training data",
                    help="give it the held-out part (`train=False`, `random_split`)",
                    related=(Related(dataset.location, "the dataset"),),
                    evidence=(
                        Evidence("static", "the training dataset, under an evaluation name"),
                    ),
                )


def _samples(loader: Object) -> bool:
    """Whether a sampler (or an argument that is not known) picks the examples."""
    return "**" in loader.args or any(
        value is not None and not (value.known and value.constant is None)
        for value in (loader.args.get("sampler"), loader.args.get("batch_sampler"))
    )
