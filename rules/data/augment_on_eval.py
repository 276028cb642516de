"""DAT006: evaluation on augmented data."""

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
    is_evaluation,
    is_random,
    is_training,
    named_for_evaluation,
    transform_steps,
)
from convlint.rules.patterns.flows import (
    objects_by_id,
    one_per_place,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from convlint.findings import Location
    from convlint.program.facts import (
        Object,
        TrainingProgram,
    )


class AugmentOnEval(Rule):
    """The validation data goes through the random augmentation of the training data.

    ## What it does
    Reports one transform object with random steps that serves a training and a validation dataset,
    and `random_split` of a dataset with such a transform into a training and a validation part.

    ## Why it hurts
    The metric is that of distorted data: too low, different at every pass, and not comparable.
    Early stopping and the choice of a model follow the noise.

    ## Example
        import torch
        from torch import nn

        from torch.utils.data import DataLoader
        from torchvision import datasets, transforms

        transform = transforms.Compose([transforms.RandomHorizontalFlip(), transforms.ToTensor()])
        train_set = datasets.CIFAR10("data", train=True, transform=transform)
        test_set = datasets.CIFAR10("data", train=False, transform=transform)
        train_loader = DataLoader(train_set, batch_size=64, shuffle=True)
        test_loader = DataLoader(test_set, batch_size=64)

    ## Use instead
        import torch
        from torch import nn

        from torch.utils.data import DataLoader
        from torchvision import datasets, transforms

        train_set = datasets.CIFAR10("data", train=True, transform=transforms.Compose([transforms.RandomHorizontalFlip(), transforms.ToTensor()]))
        test_set = datasets.CIFAR10("data", train=False, transform=transforms.Compose([transforms.ToTensor()]))
        train_loader = DataLoader(train_set, batch_size=64, shuffle=True)
        test_loader = DataLoader(test_set, batch_size=64)

    ## When it is fine
    Subsets that bring a transform of their own; test-time augmentation that averages several
    passes.

    ## Measured
    Not measured.

    ## References
    - Humbatova et al., Taxonomy of real faults in deep learning systems, ICSE 2020
    """

    code, slug, severity = "DAT006", "augment-on-eval", Severity.WARNING
    unmeasured_because = "the probe sees batches, not how they were put together"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per evaluation dataset."""
        objects = objects_by_id(program)
        reported: set[Location] = set()
        loaded = [
            (loader, dataset)
            for loader in program.objects
            if loader.cls == "torch.utils.data.DataLoader"
            and (dataset := dataset_of(objects, loader)) is not None
        ]
        trained = {_transform(objects, d) for loader, d in loaded if is_training(objects, loader)}
        for loader, dataset in loaded:
            if not (named_for_evaluation(loader) or is_evaluation(dataset)) or is_training(
                objects, loader
            ):
                continue
            transform = _transform(objects, dataset)
            if transform is None or transform not in trained:
                continue
            steps = transform_steps(objects, _whole(objects, dataset))
            random = [step for step in steps or () if is_random(step)]
            if random and one_per_place(reported, dataset.location):
                name = random[0].cls.rpartition(".")[2]
                yield self.finding(
                    dataset.location,
                    f"the evaluation data goes through the random augmentation of training ({name})",
                    help="give it a transform of its own, without the random steps",
                    related=(Related(random[0].location, "the random step"),),
                    evidence=(Evidence("static", f"one transform for both, with {name}"),),
                )


def _whole(objects: Mapping[int, Object], dataset: Object) -> Object:
    """The dataset that a part was split from."""
    if dataset.cls == "torch.utils.data.random_split":
        value = dataset.args.get("dataset")
        whole = (
            objects.get(value.object) if value is not None and value.object is not None else None
        )
        return whole if whole is not None else dataset
    return dataset


def _transform(objects: Mapping[int, Object], dataset: Object) -> int | None:
    value = _whole(objects, dataset).args.get("transform")
    return value.object if value is not None else None
