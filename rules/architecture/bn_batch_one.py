"""NRM006: batch normalisation over one example."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import (
    Confidence,
    Evidence,
    Finding,
    Related,
    Severity,
)
from convlint.program.facts import EventKind
from convlint.rules import Rule
from convlint.rules.patterns.applied import is_batch_norm
from convlint.rules.patterns.datasets import (
    dataset_of,
    training_loader,
)
from convlint.rules.patterns.flows import (
    objects_by_id,
    one_per_place,
)
from convlint.rules.patterns.training_loops import STEPS, stepped_optimizer, training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from convlint.findings import Location
    from convlint.program.facts import (
        Object,
        TrainingProgram,
        Value,
    )


class BnBatchOne(Rule):
    """Batch normalisation is trained on batches of one example.

    ## What it does
    Reports a training loop over a `DataLoader` with `batch_size=1` (given or by default) whose
    model has batch normalisation in training mode.

    ## Why it hurts
    The statistics of a batch of one are those of the example itself: what distinguishes it from
    others is normalised away, the running averages follow single examples, and `BatchNorm1d`
    raises. Accumulating gradients does not help, each micro-batch is normalised alone.

    ## Example
        import torch
        from torch import nn

        from torch.utils.data import DataLoader
        from torchvision import datasets, transforms

        data = datasets.CIFAR10("data", train=True, transform=transforms.ToTensor())
        loader = DataLoader(data, batch_size=1, shuffle=True)
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(7200, 10))
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

        data = datasets.CIFAR10("data", train=True, transform=transforms.ToTensor())
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(7200, 10))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for x, y in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()

    ## When it is fine
    A loader whose dataset or collate function makes batches itself; normalisation frozen in eval
    mode or without running statistics; image-to-image adversarial training, where batch size one
    is the method.

    ## Measured
    Not measured.

    ## References
    - Wu and He, Group normalization, ECCV 2018, figure 1
    """

    code, slug, severity = "NRM006", "bn-batch-one", Severity.WARNING
    confidence = Confidence.MEDIUM
    unmeasured_because = "it is a matter of structure, which the probe does not measure"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per loader."""
        objects = objects_by_id(program)
        layers = {model.object: model.layers for model in program.models}
        reported: set[Location] = set()
        for loop in training_loops(program):
            loader = training_loader(objects, loop.loop)
            if loader is None or not _single(objects, loader):
                continue
            if any(o.kind is EventKind.EVAL_MODE for o in loop.occurrences):
                continue
            stepped = {stepped_optimizer(o.event) for o in loop.occurrences if o.kind in STEPS}
            if len(stepped) != 1:
                continue  # adversarial training
            applied = {o.event.target for o in loop.of_kind(EventKind.FORWARD)}
            normalising = [
                objects[number]
                for model in applied
                if model is not None
                for number in layers.get(model, ())
                if number in objects and _uses_batch(objects[number])
            ]
            if normalising and one_per_place(reported, loader.location):
                yield self.finding(
                    loader.location,
                    "the model normalises over the batch, and every batch holds one example",
                    help="raise the batch size, or use group or layer normalisation",
                    related=(Related(normalising[0].location, "batch normalisation"),),
                    evidence=(Evidence("static", "batch_size is 1"),),
                )


def _single(objects: Mapping[int, Object], loader: Object) -> bool:
    """Whether the loader surely gives batches of one example."""
    if loader.cls != "torch.utils.data.DataLoader" or "**" in loader.args:
        return False
    if any(_given(loader.args.get(name)) for name in ("batch_sampler", "collate_fn")):
        return False
    size, dataset = loader.args.get("batch_size"), dataset_of(objects, loader)
    if size is None or size.number != 1 or dataset is None:
        return False
    return dataset.cls.startswith(("torchvision.datasets.", "torch.utils.data."))


def _uses_batch(layer: Object) -> bool:
    if not is_batch_norm(layer) or "eval" in layer.methods:
        return False
    tracks = layer.args.get("track_running_stats")
    return tracks is None or tracks.constant is True


def _given(value: Value | None) -> bool:
    return value is not None and not (value.known and value.constant is None)
