"""DAT001: a pretrained backbone is fed images it was not trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Evidence, Finding, Related, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.datasets import dataset_of, is_evaluation, transform_steps
from convlint.rules.patterns.flows import SHAPE_OPS, FlowGraph, objects_by_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from convlint.findings import Location
    from convlint.program.facts import Object, TrainingProgram
    from convlint.rules import Changes

TO_UNIT_RANGE = frozenset({"ToTensor", "ToDtype", "ConvertImageDtype"})
"""Steps after which pixels lie in [0, 1]."""
NEUTRAL_STEPS = frozenset(
    {
        "ToTensor", "ToDtype", "ConvertImageDtype", "ToImage", "PILToTensor", "Resize",
        "CenterCrop", "RandomCrop", "RandomResizedCrop", "FiveCrop", "TenCrop", "Pad",
        "RandomHorizontalFlip", "RandomVerticalFlip", "RandomRotation", "RandomAffine",
        "RandomPerspective", "ColorJitter", "Grayscale", "RandomGrayscale", "GaussianBlur",
        "RandomErasing", "AutoAugment", "RandAugment", "TrivialAugmentWide", "AugMix",
    }
)  # fmt: skip
"""Steps that change neither the mean nor the scale the backbone expects; any other step may be a
normalisation."""
ENTRY_OPS = SHAPE_OPS | {"interpolate", "upsample", "resize"}
"""Operations between a batch and the backbone that do not normalise."""


class PretrainedWithoutNormalize(Rule):
    """A pretrained backbone is fed images without the normalisation it was trained with.

    ## What it does
    Reports a dataset whose transform turns images into [0, 1] (`ToTensor`) but never applies
    `Normalize`, when its batches go straight into a pretrained torchvision or timm model.

    ## Why it hurts
    The pretrained weights, and the stored statistics of the normalisation layers, belong to images
    standardised with the statistics of ImageNet. Pixels in [0, 1] are shifted by two standard
    deviations and scaled by a quarter: the features lose accuracy, most of all when the backbone is
    frozen.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader
        from torchvision import datasets, models, transforms

        transform = transforms.Compose([transforms.Resize(224), transforms.ToTensor()])
        train_set = datasets.CIFAR10("data", train=True, transform=transform)
        train_loader = DataLoader(train_set, batch_size=64, shuffle=True)
        model = models.resnet18(weights="IMAGENET1K_V1")
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for epoch in range(10):
            for images, labels in train_loader:
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(images), labels)
                loss.backward()
                optimizer.step()

    ## Use instead
        import torch
        from torch import nn
        from torch.utils.data import DataLoader
        from torchvision import datasets, models, transforms

        transform = transforms.Compose(
            [
                transforms.Resize(224),
                transforms.ToTensor(),
                transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            ]
        )
        train_set = datasets.CIFAR10("data", train=True, transform=transform)
        train_loader = DataLoader(train_set, batch_size=64, shuffle=True)
        model = models.resnet18(weights="IMAGENET1K_V1")
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for epoch in range(10):
            for images, labels in train_loader:
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(images), labels)
                loss.backward()
                optimizer.step()

    ## When it is fine
    `weights.transforms()`, timm's `resolve_data_config`, an image processor, or a normalisation
    inside the model.

    ## Measured
    The probe sees the scale of the inputs but not the one the weights expect.

    ## References
    - torchvision, Models and pre-trained weights: images are normalised with mean
      [0.485, 0.456, 0.406] and std [0.229, 0.224, 0.225]
    """

    code, slug, severity = "DAT001", "pretrained-without-normalize", Severity.WARNING
    fix = Applicability.UNSAFE
    unmeasured_because = "the probe cannot know what scale the pretrained weights expect"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per dataset that feeds a pretrained backbone unnormalised images."""
        graph, objects = FlowGraph(program), objects_by_id(program)
        reported: set[Location] = set()
        for flow in program.flows:
            backbone = objects.get(flow.layer) if flow.layer is not None else None
            if backbone is None or not flow.inputs or not _is_pretrained(backbone):
                continue
            for batch in graph.origins(flow.inputs[0], ENTRY_OPS):
                dataset = _image_dataset(objects, batch.source) if batch.op == "<batch>" else None
                if dataset is None or dataset.location in reported or is_evaluation(dataset):
                    continue
                steps = transform_steps(objects, dataset)
                names = [step.cls.rpartition(".")[2] for step in steps or ()]
                if not TO_UNIT_RANGE.intersection(names) or not NEUTRAL_STEPS.issuperset(names):
                    continue
                reported.add(dataset.location)
                model = backbone.cls.rpartition(".")[2]
                yield self.finding(
                    steps[0].location if steps else dataset.location,
                    f"images in [0, 1] go into the pretrained {model} without the normalisation "
                    "its weights were trained with",
                    help="append transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, "
                    "0.225]), or use the `transforms()` of the weights",
                    related=(Related(backbone.location, "the pretrained model is made here"),),
                    fix=self.repair(
                        "normalise as ImageNet was",
                        _normalised(program, steps[-1] if steps else None),
                    ),
                    evidence=(
                        Evidence("static", f"the transform is {' → '.join(names)}, no Normalize"),
                    ),
                )


def _is_pretrained(model: Object) -> bool:
    """Whether a library model surely comes with weights."""
    if model.cls.startswith("torchvision.models."):
        weights, pretrained = model.args.get("weights"), model.args.get("pretrained")
        if pretrained is not None and pretrained.constant is True:
            return True
        return weights is not None and (
            weights.name is not None or (weights.known and weights.constant not in (None, False))
        )
    if model.cls in ("timm.create_model", "timm.models.create_model"):
        pretrained = model.args.get("pretrained")
        return pretrained is not None and pretrained.constant is True
    return False


def _image_dataset(objects: Mapping[int, Object], source: int | None) -> Object | None:
    """The dataset behind a batch, Subset and random_split taken off."""
    item = objects.get(-1 if source is None else source)
    if item is not None and item.kind == "loader":
        item = dataset_of(objects, item)
    while item is not None and item.cls in (
        "torch.utils.data.Subset",
        "torch.utils.data.random_split",
    ):
        item = dataset_of(objects, item)
    return item


MEAN_AND_STD = "[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]"
"""Of ImageNet, as the weights' documentation gives them."""


def _normalised(program: TrainingProgram, last: Object | None) -> Changes:
    """Append Normalize, written as the last step of the transform is."""
    call = edits.call_at(program, last.location) if last is not None else None
    layout = program.layout(last.location) if last is not None else None
    if last is None or call is None or layout is None:
        return None
    kind = last.cls.rpartition(".")[2]
    if call.method == kind:
        name = f"{call.receiver_text}.Normalize"
    else:
        found = layout.names.name_of("torchvision.transforms.Normalize")
        if found is None:
            return None
        name = found
    if layout.siblings_of(last.location) is None:
        return None
    return edits.append(last.location, f", {name}({MEAN_AND_STD})")
