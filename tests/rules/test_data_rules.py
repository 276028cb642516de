"""What the model is fed, and in which order."""

from __future__ import annotations

import dataclasses

import pytest
from builders import display, literal, named, refer
from model_builders import ModelBuilder, only, slugs
from observed import observations

from convlint.findings import Confidence
from convlint.gpu_probes.observations import InputTensor, Measurement
from convlint.program.facts import ObjectKind, Value
from convlint.rules.data.pretrained_without_normalize import PretrainedWithoutNormalize
from convlint.rules.data.train_not_shuffled import TrainNotShuffled
from convlint.rules.data.unnormalized_input import UnnormalizedInput

RAW, PRETRAINED, SHUFFLE = UnnormalizedInput(), PretrainedWithoutNormalize(), TrainNotShuffled()


# unnormalized-input


def trained_on(name: str, *ops: str, index: int = 0, through_loader: bool = True) -> ModelBuilder:
    """A classifier trained on an array of sklearn.datasets, ``ops`` applied on the way."""
    build = ModelBuilder()
    x = build.array(name, index)
    for op in ops:
        x = build.flow(op, x)
    if through_loader:
        loader = build.loader(build.tensor_dataset(x, build.array(name, 1)))
        x = build.batch(loader, 0)
    build.straight(build.linear(13, 32), "relu", build.linear(32, 3), start=x)
    build.loss("cross_entropy", build.output())
    return build


@pytest.mark.parametrize(
    "name", ["load_wine", "load_breast_cancer", "load_digits", "fetch_california_housing"]
)
@pytest.mark.parametrize("through_loader", [True, False])
def test_raw_columns_are_found(name: str, through_loader: bool) -> None:
    build = trained_on(name, "train_test_split", "tensor", through_loader=through_loader)
    assert slugs(RAW, build.program()) == ["unnormalized-input"]


def test_the_finding_points_at_the_call_of_the_model() -> None:
    build = trained_on("load_wine", "tensor")
    event = build.forward(build.models[0].object, flow=build.output())
    assert only(RAW, build.program(build.loop(event))).location == event.location


@pytest.mark.parametrize(
    "op", ["div", "sub", "fit_transform", "transform", "normalize", "<unknown>"]
)
def test_whatever_may_scale_is_believed_to(op: str) -> None:
    assert slugs(RAW, trained_on("load_wine", op, "tensor").program()) == []


@pytest.mark.parametrize("name", ["load_diabetes", "load_iris", "make_classification"])
def test_arrays_in_comparable_units_are_fine(name: str) -> None:
    assert slugs(RAW, trained_on(name, "tensor").program()) == []


@pytest.mark.parametrize("first", ["BatchNorm1d", "LayerNorm"])
def test_a_normalisation_layer_first_is_fine(first: str) -> None:
    build = ModelBuilder()
    x = build.flow("tensor", build.array("load_wine", 0))
    build.straight(build.layer(f"torch.nn.{first}"), build.linear(), start=x)
    build.loss("cross_entropy", build.output())
    assert slugs(RAW, build.program()) == []


def test_a_branch_that_scales_keeps_it_silent() -> None:
    build = ModelBuilder()
    x = build.array("load_wine", 0)
    joined = build.flow("<join>", x, build.flow("fit_transform", x))
    build.straight(build.linear(), start=joined)
    build.loss("cross_entropy", build.output())
    assert slugs(RAW, build.program()) == []


def image_program(*steps: str) -> ModelBuilder:
    build = ModelBuilder()
    made = [build.add(ObjectKind.TRANSFORM, f"torchvision.transforms.{step}") for step in steps]
    compose = build.add(
        ObjectKind.TRANSFORM,
        "torchvision.transforms.Compose",
        args={"transforms": display(*(refer(step) for step in made))},
    )
    dataset = build.add(
        ObjectKind.DATASET,
        "torchvision.datasets.CIFAR10",
        args={"transform": refer(compose), "train": literal(True)},
    )
    loader = build.loader(dataset, shuffle=literal(True))
    conv = build.layer("torch.nn.Conv2d", in_channels=literal(3), kernel_size=literal(3))
    build.straight(conv, "relu", "flatten", build.linear(), start=build.batch(loader, 0))
    build.loss("cross_entropy", build.output())
    return build


def test_images_turned_into_tensors_without_scaling_are_found() -> None:
    assert slugs(RAW, image_program("RandomCrop", "PILToTensor").program()) == [
        "unnormalized-input"
    ]


@pytest.mark.parametrize("steps", [("ToTensor",), ("PILToTensor", "Normalize"), ("Resize",)])
def test_scaled_images_and_unknown_conversions_are_fine(steps: tuple[str, ...]) -> None:
    assert slugs(RAW, image_program(*steps).program()) == []


def seen_input(**fields: object) -> InputTensor:
    base = InputTensor(
        name="x",
        model="Net",
        kind="tabular",
        shape=(16, 13),
        dtype="float32",
        samples=128,
        mean=0.0,
        std=1.0,
        minimum=-3.0,
        maximum=3.0,
        features=13,
        scale_ratio=Measurement(1.2),
    )
    return dataclasses.replace(base, **fields)  # type: ignore[arg-type]


def test_raw_inputs_are_measured_with_their_spread() -> None:
    tensor = seen_input(mean=69.0, std=215.0, scale_ratio=Measurement(2500.0))
    (finding,) = RAW.measured(observations(inputs=(tensor,)))
    assert finding.confidence is Confidence.HIGH
    assert "2,500" in finding.message
    # sqrt(69^2 + 215^2) = 225.8
    assert finding.evidence[0].value == pytest.approx(225.8, abs=0.1)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"kind": "image", "mean": 0.45, "std": 0.27},
        {"mean": 0.13, "std": 0.31, "scale_ratio": Measurement(4000.0)},
        {"kind": "tokens", "mean": 900.0, "std": 500.0},
        {"mean": 69.0, "std": 215.0, "normalized_inside": "BatchNorm1d"},
    ],
)
def test_standardised_pixels_tokens_and_normalised_inside_are_fine(
    fields: dict[str, object],
) -> None:
    assert list(RAW.measured(observations(inputs=(seen_input(**fields),)))) == []


def test_a_single_number_beside_other_inputs_is_fine() -> None:
    time = seen_input(name="t", features=1, mean=500.0, std=290.0)
    assert list(RAW.measured(observations(inputs=(seen_input(), time)))) == []


def test_the_reading_says_the_scale() -> None:
    assert RAW.reading(observations(inputs=(seen_input(),))) == (
        "the input `x` has root mean square 1"
    )
    assert RAW.reading(observations()) is None


# pretrained-without-normalize


def transfer(
    *steps: str, weights: Value | None = None, between: str = "to", train: bool = True
) -> ModelBuilder:
    build = image_program(*steps)
    dataset = next(o for o in build.objects if o.kind is ObjectKind.DATASET)
    dataset.args["train"] = literal(train)
    loader = next(o for o in build.objects if o.kind is ObjectKind.LOADER)
    given = named("torchvision.models.ResNet18_Weights.DEFAULT") if weights is None else weights
    backbone = build.add(ObjectKind.LAYER, "torchvision.models.resnet18", args={"weights": given})
    build.flow("resnet18", build.flow(between, build.batch(loader.id, 0)), layer=backbone)
    return build


def test_a_pretrained_backbone_on_plain_tensors_is_found() -> None:
    assert slugs(PRETRAINED, transfer("Resize", "ToTensor").program()) == [
        "pretrained-without-normalize"
    ]


@pytest.mark.parametrize(
    "build",
    [
        transfer("Resize", "ToTensor", "Normalize"),
        transfer("ToTensor", "Lambda"),
        transfer("ToTensor", weights=literal(None)),
        transfer("ToTensor", weights=Value()),
        transfer("ToTensor", between="sub"),
        transfer("ToTensor", between="<unknown>"),
        transfer("ToTensor", train=False),
    ],
    ids=["normalize", "lambda", "scratch", "unknown-weights", "inside", "unknown", "evaluation"],
)
def test_normalised_scratch_and_unknown_are_fine(build: ModelBuilder) -> None:
    assert slugs(PRETRAINED, build.program()) == []


# train-not-shuffled


def loading(name: str, dataset_name: str = "data", cls: str = "", **args: Value) -> ModelBuilder:
    build = ModelBuilder()
    if cls:
        bases = ("torch.utils.data.Dataset",)
        dataset = build.add(ObjectKind.DATASET, cls, names=(dataset_name,), bases=bases)
    else:
        dataset = build.tensor_dataset(build.flow("<constant>"), names=(dataset_name,))
    build.loader(dataset, name, **args)
    return build


@pytest.mark.parametrize("name", ["train_loader", "self.trainloader", "trainLoader", "dl_train"])
def test_an_unshuffled_training_loader_is_found(name: str) -> None:
    assert slugs(SHUFFLE, loading(name).program()) == ["train-not-shuffled"]


def test_facts_without_their_source_come_without_a_fix() -> None:
    assert only(SHUFFLE, loading("train_loader", shuffle=literal(False)).program()).fix is None


@pytest.mark.parametrize(
    "build",
    [
        loading("train_loader", shuffle=literal(True)),
        loading("train_loader", shuffle=Value()),
        loading("train_loader", sampler=refer(7)),
        loading("train_loader", sampler=Value()),
        loading("train_loader", **{"**": Value()}),
        loading("test_loader"),
        loading("train_eval_loader"),
        loading("loader"),
        loading("train_loader", "sequence_data"),
        loading("train_loader", cls="train.TimeSeriesDataset"),
        loading("train_loader", cls="train.ReplayBuffer"),
    ],
)
def test_shuffled_sampled_evaluating_and_ordered_loaders_are_fine(build: ModelBuilder) -> None:
    assert slugs(SHUFFLE, build.program()) == []


def test_an_iterable_dataset_has_no_order_to_shuffle() -> None:
    build = ModelBuilder()
    dataset = build.add(
        ObjectKind.DATASET, "train.Lines", bases=("torch.utils.data.IterableDataset",)
    )
    build.loader(dataset, "train_loader")
    build.loader(None, "train_loader")
    assert slugs(SHUFFLE, build.program()) == []


def test_a_loop_that_updates_a_model_makes_a_loader_one_of_training() -> None:
    build = loading("loader")
    loop = build.batches(build.objects[-1].id, build.backward(), build.step(None))
    assert slugs(SHUFFLE, build.program(loop)) == ["train-not-shuffled"]


def test_gradients_without_an_update_are_no_training() -> None:
    build = loading("loader")
    loop = build.batches(build.objects[-1].id, build.backward())
    assert slugs(SHUFFLE, build.program(loop)) == []


def test_a_training_loader_that_only_evaluates_is_fine() -> None:
    build = loading("train_loader")
    loader = build.objects[-1].id
    assert slugs(SHUFFLE, build.program(build.batches(loader, build.forward(None)))) == []
