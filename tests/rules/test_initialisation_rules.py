"""Initialisation against what follows it."""

from __future__ import annotations

import pytest
from builders import at, literal
from model_builders import ModelBuilder, only, slugs

from convlint.findings import Severity
from convlint.program.facts import Initialisation, Model, ObjectKind, Origin, Value
from convlint.rules.initialisation.constant_weight_init import ConstantWeightInit
from convlint.rules.initialisation.deep_plain_default_init import DeepPlainDefaultInit
from convlint.rules.initialisation.deep_saturating_stack import DeepSaturatingStack
from convlint.rules.initialisation.kaiming_before_saturating import KaimingBeforeSaturating
from convlint.rules.initialisation.normal_init_too_wide import NormalInitTooWide
from convlint.rules.initialisation.xavier_before_relu import XavierBeforeRelu

CONSTANT, WIDE, PLAIN = ConstantWeightInit(), NormalInitTooWide(), DeepPlainDefaultInit()
STACK, KAIMING, XAVIER = DeepSaturatingStack(), KaimingBeforeSaturating(), XavierBeforeRelu()


def stack(build: ModelBuilder, activation: str, depth: int, *extra: str) -> list[int]:
    """A straight model of ``depth`` hidden layers and an output layer; returns the layers."""
    layers: list[int] = []
    row: list[int | str] = []
    for _ in range(depth):
        layers.append(build.linear())
        row += [layers[-1], *extra, activation]
    layers.append(build.linear(64, 10))
    build.straight(*row, layers[-1])
    return layers


# deep-saturating-stack


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "softsign"])
def test_four_saturating_layers_are_found_at_the_first(activation: str) -> None:
    build = ModelBuilder()
    layers = stack(build, activation, 4)
    finding = only(STACK, build.program())
    assert finding.location == build.objects[layers[0]].location


def test_three_saturating_layers_are_fine() -> None:
    build = ModelBuilder()
    stack(build, "sigmoid", 3)
    assert slugs(STACK, build.program()) == []


def test_a_saturating_output_does_not_count() -> None:
    build = ModelBuilder()
    layers = [build.linear() for _ in range(4)]
    build.straight(*(item for layer in layers for item in (layer, "sigmoid")))
    assert slugs(STACK, build.program()) == []


@pytest.mark.parametrize("extra", ["batch_norm1d", "layer_norm", "<unknown>", "lstm", "relu"])
def test_normalised_unknown_and_rectified_stacks_are_fine(extra: str) -> None:
    build = ModelBuilder()
    stack(build, "sigmoid", 6, extra)
    assert slugs(STACK, build.program()) == []


def test_gates_and_skip_connections_are_fine() -> None:
    build = ModelBuilder()
    first = current = build.flow("<input>")
    layers = []
    for _ in range(6):
        layers.append(build.linear())
        gate = build.flow("sigmoid", build.flow("linear", current, layer=layers[-1]))
        current = build.flow("mul", gate, current)
    build.analysed(tuple(layers), first, current)
    assert slugs(STACK, build.program()) == []


def test_an_incomplete_model_is_not_judged() -> None:
    build = ModelBuilder()
    row: list[int | str] = [item for _ in range(6) for item in (build.linear(), "tanh")]
    build.straight(*row, build.linear(), complete=False)
    assert slugs(STACK, build.program()) == []


def test_a_bare_sequential_is_read_from_its_children() -> None:
    build = ModelBuilder()
    children = []
    for _ in range(5):
        children += [build.linear(), build.layer("torch.nn.Tanh")]
    children.append(build.linear())
    number = build.add(
        ObjectKind.LAYER,
        "torch.nn.Sequential",
        children={str(i): child for i, child in enumerate(children)},
    )
    build.models.append(
        Model(object=number, cls="torch.nn.Sequential", location=at(1), layers=tuple(children))
    )
    assert slugs(STACK, build.program()) == ["deep-saturating-stack"]


# kaiming-before-saturating


def test_kaiming_before_tanh_is_a_note() -> None:
    build = ModelBuilder()
    place = build.initialise("kaiming_normal_", *stack(build, "tanh", 2))
    finding = only(KAIMING, build.program())
    assert (finding.location, finding.severity) == (place, Severity.INFO)


def test_kaiming_in_a_deep_saturating_stack_is_a_warning() -> None:
    build = ModelBuilder()
    build.initialise("kaiming_uniform_", *stack(build, "sigmoid", 5))
    assert only(KAIMING, build.program()).severity is Severity.WARNING


def test_kaiming_before_rectifiers_or_with_its_nonlinearity_named_is_fine() -> None:
    build = ModelBuilder()
    build.initialise("kaiming_normal_", *stack(build, "relu", 3))
    build.initialise(
        "kaiming_normal_", *stack(build, "tanh", 3), args={"nonlinearity": literal("tanh")}
    )
    build.initialise("kaiming_normal_", *stack(build, "tanh", 3, "gelu"))
    build.initialise("xavier_normal_", *stack(build, "tanh", 3))
    assert slugs(KAIMING, build.program()) == []


def test_a_sigmoid_on_the_output_alone_is_fine() -> None:
    build = ModelBuilder()
    layer = build.linear(64, 1)
    build.straight(layer, "sigmoid")
    build.initialise("kaiming_normal_", layer)
    assert slugs(KAIMING, build.program()) == []


# xavier-before-relu


def test_xavier_before_four_rectifiers_is_found_and_opt_in() -> None:
    build = ModelBuilder()
    place = build.initialise("xavier_uniform_", *stack(build, "relu", 4))
    assert only(XAVIER, build.program()).location == place
    assert XAVIER.default is False


def test_xavier_with_a_gain_normalised_or_shallow_is_fine() -> None:
    build = ModelBuilder()
    build.initialise("xavier_uniform_", *stack(build, "relu", 5), args={"gain": literal(1.414)})
    build.initialise("xavier_uniform_", *stack(build, "relu", 5, "batch_norm1d"))
    build.initialise("xavier_uniform_", *stack(build, "relu", 3))
    build.initialise("xavier_uniform_", *stack(build, "tanh", 5))
    assert slugs(XAVIER, build.program()) == []


def test_the_librarys_default_gain_counts_as_omitted() -> None:
    build = ModelBuilder()
    gain = Value(candidates=(1.0,), origin=Origin("library default"))
    build.initialise("xavier_normal_", *stack(build, "relu", 6), args={"gain": gain})
    assert slugs(XAVIER, build.program()) == ["xavier-before-relu"]


# normal-init-too-wide


def test_a_standard_normal_weight_is_too_wide() -> None:
    build = ModelBuilder()
    place = build.initialise("normal_", *stack(build, "relu", 2))
    finding = only(WIDE, build.program())
    assert finding.location == place
    assert finding.evidence[0].value == pytest.approx(8.0)  # 1 * sqrt(64)


def test_a_class_guard_reaches_every_such_layer() -> None:
    build = ModelBuilder()
    stack(build, "relu", 2)
    build.initialise("normal_", classes=("torch.nn.Linear",))
    assert slugs(WIDE, build.program()) == ["normal-init-too-wide"]


def test_narrow_weights_few_inputs_and_embeddings_are_fine() -> None:
    build = ModelBuilder()
    layers = stack(build, "relu", 2)
    build.initialise("normal_", *layers, args={"std": literal(0.02)})
    few = build.linear(3, 64)
    build.straight(few)
    build.initialise("normal_", few)
    embedding = build.layer("torch.nn.Embedding", num_embeddings=literal(1000))
    build.straight(embedding)
    build.initialise("normal_", embedding)
    assert slugs(WIDE, build.program()) == []


def test_a_later_initialisation_has_the_last_word() -> None:
    build = ModelBuilder()
    layers = stack(build, "relu", 2)
    build.initialise("normal_", *layers)
    build.initialise("kaiming_normal_", *layers)
    assert slugs(WIDE, build.program()) == []


def test_an_unknown_std_and_an_unknown_owner_are_not_judged() -> None:
    build = ModelBuilder()
    layers = stack(build, "relu", 2)
    build.initialise("normal_", *layers, args={"std": Value()})
    build.initialise("normal_")
    assert slugs(WIDE, build.program()) == []


def test_the_inputs_of_a_convolution_are_counted() -> None:
    build = ModelBuilder()
    args = {"in_channels": literal(3), "kernel_size": literal(3)}
    layer = build.layer("torch.nn.Conv2d", **args)
    build.straight(layer, "relu")
    build.initialise("normal_", layer, args={"std": literal(0.5)})
    # 3 channels x 3 x 3 = 27 inputs: the signal grows by 0.5 * sqrt(27) = 2.6.
    assert only(WIDE, build.program()).evidence[0].value == pytest.approx(2.598, abs=1e-3)


# constant-weight-init


def test_a_constant_hidden_layer_is_found() -> None:
    build = ModelBuilder()
    layers = stack(build, "tanh", 2)
    place = build.initialise("constant_", *layers[:2], args={"val": literal(0.05)})
    assert only(CONSTANT, build.program()).location == place


def test_a_guard_naming_the_type_is_found() -> None:
    build = ModelBuilder()
    stack(build, "relu", 2)
    build.initialise("zeros_", classes=("torch.nn.Linear",))
    assert slugs(CONSTANT, build.program()) == ["constant-weight-init"]


def test_output_layers_biases_and_normalisations_are_fine() -> None:
    build = ModelBuilder()
    layers = stack(build, "relu", 2)
    build.initialise("zeros_", layers[-1])
    build.initialise("zeros_", *layers, parameter="bias")
    build.initialise("constant_", classes=("torch.nn.BatchNorm2d",), args={"val": literal(1.0)})
    assert slugs(CONSTANT, build.program()) == []


def test_the_last_layer_of_a_residual_branch_may_start_at_zero() -> None:
    build = ModelBuilder()
    first = build.flow("<input>")
    inner, last, head = build.linear(), build.linear(), build.linear(64, 10)
    hidden = build.flow("relu", build.flow("linear", first, layer=inner))
    joined = build.flow("add", build.flow("linear", hidden, layer=last), first)
    build.analysed((inner, last, head), first, build.flow("linear", joined, layer=head))
    build.initialise("zeros_", last)
    assert slugs(CONSTANT, build.program()) == []


@pytest.mark.parametrize("name", ["self.lora_B", "self.zero_conv", "self.proj_out", "self.adaLN"])
def test_layers_named_for_starting_at_zero_are_fine_with_zeros_only(name: str) -> None:
    def program_with(initialiser: str) -> list[str]:
        build = ModelBuilder()
        layer = build.linear()
        build.objects[layer] = type(build.objects[layer])(
            id=layer,
            kind=build.objects[layer].kind,
            cls="torch.nn.Linear",
            location=at(1),
            names=(name,),
        )
        build.straight(layer, "relu", build.linear())
        build.initialise(initialiser, layer)
        return slugs(CONSTANT, build.program())

    assert program_with("zeros_") == []
    assert program_with("ones_") == ["constant-weight-init"]


def test_an_initialisation_of_nothing_known_is_not_judged() -> None:
    build = ModelBuilder()
    stack(build, "relu", 3)
    build.initialisations.append(
        Initialisation(
            "torch.nn.init.zeros_", at(5), classes=("torch.nn.Conv2d",), parameter="weight"
        )
    )
    assert slugs(CONSTANT, build.program()) == []


# deep-plain-default-init


def test_eight_plain_layers_at_the_default_initialisation_are_found() -> None:
    build = ModelBuilder()
    layers = stack(build, "relu", 8)
    finding = only(PLAIN, build.program())
    assert finding.location == build.objects[layers[0]].location
    # (1/6)^(8/2): a sixth of the variance per layer.
    assert finding.evidence[0].value == pytest.approx(7.716e-4, rel=1e-3)


def test_shallow_normalised_and_initialised_networks_are_fine() -> None:
    build = ModelBuilder()
    stack(build, "relu", 7)
    stack(build, "relu", 10, "batch_norm1d")
    build.initialise("kaiming_normal_", *stack(build, "relu", 10))
    assert slugs(PLAIN, build.program()) == []


def test_an_initialisation_of_something_unknown_keeps_it_silent() -> None:
    build = ModelBuilder()
    stack(build, "relu", 10)
    build.initialise("kaiming_normal_", parameter="")
    assert slugs(PLAIN, build.program()) == []
