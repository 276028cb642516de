"""DAT003: raw data in units of its own goes straight into the model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from convlint.findings import Applicability, Confidence, Evidence, Finding, Related, Severity
from convlint.predictions import Prediction
from convlint.rules import Rule
from convlint.rules.patterns import edits, statement_edits
from convlint.rules.patterns.datasets import (
    UNSCALED_ARRAYS,
    batch_source,
    dataset_of,
    transform_steps,
)
from convlint.rules.patterns.figures import figure, measured_evidence
from convlint.rules.patterns.flows import JOIN, SHAPE_OPS, FlowGraph, objects_by_id
from convlint.rules.patterns.layers import is_recurrent, is_weight_layer
from convlint.rules.patterns.losses import forward_location, trained_losses
from convlint.rules.patterns.places import place_to_location

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from convlint.findings import Location
    from convlint.gpu_probes.observations import InputTensor, Observations
    from convlint.program.facts import Flow, Object, TrainingProgram
    from convlint.rules import Changes

SCALE_LIMIT = 4.0
"""Root mean square of an input. The curvature of the first layer grows with its square: beyond 4
the largest stable learning rate is 16 times below that of standardised data. Standardised inputs
have 1, images from ToTensor about 0.5; raw 8-bit images have 50 to 150."""
JUDGED_KINDS = frozenset({"image", "tabular", "sequence"})

TRANSPARENT = SHAPE_OPS | {
    "train_test_split", "dropna", "to_numpy", "values", "copy", "convert", "resize", "crop",
    "cvtColor", "flip", "fliplr", "flipud", "ascontiguousarray", "expand_dims",
}  # fmt: skip
EIGHT_BIT = "8-bit pixels between 0 and 255"
IMAGE_READERS = frozenset(
    {
        "cv2.imread", "imageio.imread", "imageio.v2.imread", "imageio.v3.imread",
        "skimage.io.imread", "torchvision.io.read_image", "PIL.Image.open",
    }
)  # fmt: skip
"""Functions that give images as they are stored."""
STORED_IMAGES = frozenset(
    {"MNIST", "FashionMNIST", "KMNIST", "QMNIST", "EMNIST", "USPS", "CIFAR10", "CIFAR100", "SVHN", "STL10"}
)  # fmt: skip
"""Datasets of torchvision whose ``data`` holds the pixels as they are stored, transforms aside."""
SCALING_STEPS = frozenset(
    {"ToTensor", "Normalize", "ConvertImageDtype", "Lambda", "LinearTransformation"}
)
RAW_STEPS = frozenset({"PILToTensor", "ToImage"})


class UnnormalizedInput(Rule):
    """Raw data goes into the model without normalisation.

    ## What it does
    Follows what enters the first weight layer back to where it was loaded, and reports raw 8-bit
    images and tabular columns in units of their own that meet no scaling on the way: no division,
    no subtraction of the mean, no scaler, no `ToTensor` or `Normalize`, no normalisation layer.

    ## Why it hurts
    The curvature of the loss with respect to the first layer's weights is proportional to the
    second moment of its inputs. Features of size 300 allow learning rates 90,000 times smaller
    than features of size 1; with both in one table no single learning rate suits.

    ## Example
        import torch
        from sklearn.datasets import load_wine
        from torch import nn

        features, labels = load_wine(return_X_y=True)
        x = torch.tensor(features, dtype=torch.float32)
        y = torch.tensor(labels)
        model = nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 3))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for epoch in range(100):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()

    ## Use instead
        import torch
        from sklearn.datasets import load_wine
        from sklearn.preprocessing import StandardScaler
        from torch import nn

        features, labels = load_wine(return_X_y=True)
        features = StandardScaler().fit_transform(features)
        x = torch.tensor(features, dtype=torch.float32)
        y = torch.tensor(labels)
        model = nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 3))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for epoch in range(100):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()

    ## When it is fine
    A normalisation layer or an embedding first; data that is scaled already; data whose origin
    cannot be told from the source.

    ## Measured
    `convlint probe` takes the scale of every input of the model over the held batches: a root mean
    square above 4 confirms it, and the message says how far the features differ.

    ## References
    - LeCun, Bottou, Orr and Müller, Efficient BackProp, 1998, section 4.3
    """

    code, slug, severity = "DAT003", "unnormalized-input", Severity.WARNING
    prediction = Prediction("input scale", "above", SCALE_LIMIT)
    fix = Applicability.UNSAFE
    confidence = Confidence.MEDIUM
    measurements = ("inputs",)

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per place where raw data enters a model that is trained on it."""
        graph, objects = FlowGraph(program), objects_by_id(program)
        reported: set[Location] = set()
        for loss in trained_losses(program, None):
            for flow in graph.ancestors(loss.input):
                if not (is_weight_layer(flow.op) or is_recurrent(flow.op)) or not flow.inputs:
                    continue
                raw = _raw(graph, objects, flow.inputs[0])
                if raw is None:
                    continue
                source, what = raw
                location = forward_location(program, graph, loss, flow)
                if location in reported:
                    continue
                reported.add(location)
                related: tuple[Related, ...] = ()
                if source.location is not None:
                    related = (Related(source.location, f"the data comes from here: {what}"),)
                yield self.finding(
                    location,
                    f"the model is fed raw data ({what}) without any normalisation on the way",
                    help="standardise the features (StandardScaler fitted on the training part, "
                    "or subtract the mean and divide by the standard deviation); divide 8-bit "
                    "images by 255",
                    related=related,
                    fix=self.repair("divide by 255", _divided(program, location))
                    if EIGHT_BIT in what
                    else self.repair("standardise the features", _standardised(program, location)),
                    evidence=(
                        Evidence("static", f"{what}, and no scaling before the first layer"),
                    ),
                )

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """One finding per model input that is far from unit scale."""
        for tensor in _judged(seen):
            size = _root_mean_square(tensor)
            if size is None or size <= SCALE_LIMIT:
                continue
            yield self.finding(
                place_to_location(tensor.place, seen),
                f"the input `{tensor.name}` of {tensor.model} is not normalised: its root mean "
                f"square is {figure(size)}{_spread(tensor)}, so the largest stable "
                f"learning rate of the first layer is {figure(size**2)} times smaller than on "
                "standardised data",
                help="standardise each feature over the training data; divide 8-bit images by 255",
                confidence=Confidence.HIGH,
                evidence=(
                    *measured_evidence(
                        f"root mean square of `{tensor.name}` over the held batches",
                        quantity="input scale",
                        value=size,
                        expected="about 1",
                    ),
                    *_spread_evidence(tensor),
                ),
            )

    def reading(self, seen: Observations) -> str | None:
        """The scale of the inputs, and how far their features differ."""
        sizes = [
            (size, tensor)
            for tensor in _judged(seen)
            if (size := _root_mean_square(tensor)) is not None
        ]
        if not sizes:
            normalised = [t.normalized_inside for t in seen.inputs if t.normalized_inside]
            return f"the model begins with {normalised[0]}" if normalised else None
        size, tensor = max(sizes, key=lambda pair: pair[0])
        return f"the input `{tensor.name}` has root mean square {figure(size)}{_spread(tensor)}"


def _judged(seen: Observations) -> tuple[InputTensor, ...]:
    """The inputs a scale can be asked of: not tokens, not normalised by the model itself, not a
    single number beside other inputs (a time step, a temperature)."""
    several = {tensor.model for tensor in seen.inputs if tensor.features > 1}
    return tuple(
        tensor
        for tensor in seen.inputs
        if tensor.kind in JUDGED_KINDS
        and not tensor.normalized_inside
        and not (tensor.kind != "image" and tensor.features == 1 and tensor.model in several)
    )


def _root_mean_square(tensor: InputTensor) -> float | None:
    if tensor.mean is None or tensor.std is None:
        return None
    return math.hypot(tensor.mean, tensor.std)


def _spread(tensor: InputTensor) -> str:
    ratio = tensor.scale_ratio
    if tensor.kind == "image" or ratio is None or ratio.value is None or ratio.value < 2:
        return ""
    return f" and the scales of its features differ by a factor of {figure(ratio.value)}"


def _spread_evidence(tensor: InputTensor) -> Iterator[Evidence]:
    for measurement, statement, quantity in (
        (
            tensor.scale_ratio,
            "largest over smallest standard deviation of a feature",
            "scale ratio",
        ),
        (tensor.offset, "largest |mean| over standard deviation of a feature", "offset"),
        (
            tensor.covariance_condition,
            "condition number of the inputs' second moments, which multiplies the curvature of "
            "the first layer",
            "input condition number",
        ),
    ):
        if measurement is not None and measurement.value is not None:
            yield from measured_evidence(statement, quantity=quantity, value=measurement.value)


def _raw(
    graph: FlowGraph, objects: Mapping[int, Object], number: int | None
) -> tuple[Flow, str] | None:
    """Where raw data behind ``number`` comes from and what it is; None when any way there is
    unknown or meets an operation that may scale it."""
    found: tuple[Flow, str] | None = None
    pending = [number]
    seen: set[int] = set()
    while pending:
        flow = graph.get(pending.pop())
        if flow is None:
            return None
        if flow.id in seen:
            continue
        seen.add(flow.id)
        if flow.op == JOIN:
            pending.extend(flow.inputs)
        elif flow.op == "<batch>":
            behind = batch_source(graph, objects, flow)
            if behind is not None:
                pending.append(behind.id)
            elif _raw_images(objects, flow):
                found = (flow, EIGHT_BIT)
            else:
                return None
        elif flow.op == "<array>":
            what = _content(flow.name)
            if what is None or flow.index not in (None, 0):
                return None
            found = (flow, what)
        elif flow.op in TRANSPARENT and flow.inputs:
            index = flow.args.get("index")
            if index is not None and index.items is not None:
                return None  # a choice of columns, which may well have one unit
            pending.append(flow.inputs[0])
        else:
            return None
    return found


def _content(name: str) -> str | None:
    """What an array that this callable gives surely looks like; None when it is not known."""
    owner, _, last = name.rpartition(".")
    if name in IMAGE_READERS:
        return f"{last}: {EIGHT_BIT}"
    if owner.startswith("torchvision.datasets."):
        stored = owner.rpartition(".")[2]
        return f"data of {stored}: {EIGHT_BIT}" if stored in STORED_IMAGES else None
    what = UNSCALED_ARRAYS.get(last)
    return f"{last}: {what}" if what is not None else None


def _raw_images(objects: Mapping[int, Object], batch: Flow) -> bool:
    """Whether a batch's images surely were turned into tensors without scaling."""
    loader = objects.get(-1 if batch.source is None else batch.source)
    dataset = dataset_of(objects, loader) if loader is not None else None
    steps = transform_steps(objects, dataset) if dataset is not None else None
    if steps is None or batch.index != 0:
        return False
    names = [step.cls.rpartition(".")[2] for step in steps]
    if SCALING_STEPS.intersection(names) or not RAW_STEPS.intersection(names):
        return False
    casts = [step for step in steps if step.cls.endswith(".ToDtype")]
    return all(_does_not_scale(step) for step in casts)


def _does_not_scale(cast: Object) -> bool:
    scale = cast.args.get("scale")
    return scale is None or scale.constant is False


def _divided(program: TrainingProgram, forward: Location) -> Changes:
    call = edits.call_at(program, forward)
    if call is None or len(call.arguments) != 1 or call.arguments[0].name is not None:
        return None
    return edits.call_method(program, call.arguments[0].value, ".div(255)")


def _standardised(program: TrainingProgram, forward: Location) -> Changes:
    """Behind the one assignment of the tensor that is given to the model."""
    call, layout = edits.call_at(program, forward), program.layout(forward)
    user = statement_edits.statement_at(program, forward)
    if call is None or layout is None or user is None or len(call.arguments) != 1:
        return None
    name = call.arguments[0].text
    made = [s for s in layout.all_statements() if name in s.writes and not s.compound]
    if len(made) != 1 or made[0].targets != (name,) or made[0].kind != "Assign":
        return None
    source = layout.call(made[0].value)
    if source is None or made[0].function not in (None, user.function):
        return None
    if not (layout.names.qualified(source.callee_text) or "").startswith("torch."):
        return None
    code = f"{name} = ({name} - {name}.mean(0)) / {name}.std(0).clamp(min=1e-8)"
    return statement_edits.insert_after(program, made[0], code)
