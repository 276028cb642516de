"""DAT002: images that are scaled but not centred."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Confidence, Evidence, Finding, Severity
from convlint.program.facts import ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.datasets import (
    dataset_of,
    transform_steps,
)
from convlint.rules.patterns.flows import (
    FlowGraph,
    objects_by_id,
    one_per_place,
)
from convlint.rules.patterns.layers import (
    is_normalisation,
)
from convlint.rules.patterns.losses import trained_losses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import (
        Object,
        TrainingProgram,
    )
    from convlint.rules import Changes

ARITHMETIC = frozenset({"sub", "isub", "sub_", "transform", "<unknown>"})
"""Operations that may normalise later."""


class ImageNoNormalize(Rule):
    """The training images are not normalised.

    ## What it does
    Reports a training transform with `ToTensor` and no `Normalize`, where a classifier without a
    normalisation layer is trained with cross-entropy.

    ## Why it hurts
    `ToTensor` leaves pixels between 0 and 1: all positive, with a mean of about a half. The common
    offset makes the curvature of the first layer much larger in one direction than in the others,
    which limits the learning rate.

    ## Example
        import torch
        from torch import nn

        from torch.utils.data import DataLoader
        from torchvision import datasets, transforms

        train_set = datasets.CIFAR10("data", train=True, transform=transforms.Compose([transforms.ToTensor()]))
        loader = DataLoader(train_set, batch_size=64, shuffle=True)
        model = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for x, y in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()

    ## Use instead
        import torch
        from torch import nn

        from torch.utils.data import DataLoader
        from torchvision import datasets, transforms

        train_set = datasets.CIFAR10("data", train=True, transform=transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.49, 0.48, 0.45), (0.25, 0.24, 0.26))]))
        loader = DataLoader(train_set, batch_size=64, shuffle=True)
        model = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for x, y in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()

    ## When it is fine
    Reconstruction, generation and style transfer, where pixels are also the target; models with a
    normalisation layer; normalisation later in the code.

    ## Measured
    `convlint probe` takes the mean and scale of every input.

    ## References
    - LeCun, Bottou, Orr and Müller, Efficient BackProp, 1998, section 4.3
    """

    code, slug, severity = "DAT002", "image-no-normalize", Severity.INFO
    fix = Applicability.UNSAFE
    default = False
    confidence = Confidence.MEDIUM
    confirmed_by = ("unnormalized-input",)

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per dataset that a classifier is trained on."""
        objects, graph = objects_by_id(program), FlowGraph(program)
        reported: set[Location] = set()
        for loss in trained_losses(program, frozenset({"cross_entropy", "nll_loss"})):
            behind = list(graph.ancestors(loss.input))
            ops = {flow.op for flow in behind}
            if any(is_normalisation(op) for op in ops) or ops & ARITHMETIC:
                continue
            for flow in behind:
                source = objects.get(-1 if flow.source is None else flow.source)
                if flow.op != "<batch>" or source is None or source.kind is not ObjectKind.LOADER:
                    continue
                dataset = dataset_of(objects, source)
                steps = transform_steps(objects, dataset) if dataset is not None else None
                if dataset is None or steps is None:
                    continue
                names = [step.cls.rpartition(".")[2] for step in steps]
                if names and names[-1] == "ToTensor" and one_per_place(reported, dataset.location):
                    yield self.finding(
                        dataset.location,
                        "the images are scaled to [0, 1] and not centred",
                        help="add `Normalize(mean, std)` after `ToTensor`",
                        evidence=(Evidence("static", "ToTensor is the last step"),),
                        fix=self.repair(
                            "centre and scale the pixels", _centred(program, steps[-1])
                        ),
                    )


CHANNELS = {"MNIST": 1, "FashionMNIST": 1, "KMNIST": 1, "EMNIST": 1, "QMNIST": 1, "USPS": 1}


def _centred(program: TrainingProgram, last: Object) -> Changes:
    """Append Normalize to [-1, 1]; one value stands for every channel."""
    call = edits.call_at(program, last.location)
    layout = program.layout(last.location)
    if call is None or layout is None or call.method != "ToTensor":
        return None
    if layout.siblings_of(last.location) is None:
        return None
    return edits.append(last.location, f", {call.receiver_text}.Normalize((0.5,), (0.5,))")
