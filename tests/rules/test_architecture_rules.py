"""Modules that the optimizer cannot see."""

from __future__ import annotations

import pytest
from builders import at, literal
from model_builders import ModelBuilder, only, slugs
from observed import observations

from convlint.gpu_probes.observations import Parameter, Place
from convlint.program.facts import Call, Object, ObjectKind, Value
from convlint.rules.architecture.modules_in_plain_list import ModulesInPlainList
from convlint.rules.architecture.softmax_no_dim import SoftmaxNoDim
from convlint.rules.architecture.stacked_activations import StackedActivations

RULE, STACKED, NO_DIM = ModulesInPlainList(), StackedActivations(), SoftmaxNoDim()


def test_layers_in_a_plain_list_are_found() -> None:
    build = ModelBuilder()
    hidden = [build.linear(), build.linear()]
    build.straight(build.linear())
    build.hide("hidden", *hidden)
    finding = only(RULE, build.program())
    assert "self.hidden" in finding.message
    assert "ModuleList" in finding.help


def test_parameters_in_a_dict_are_found() -> None:
    build = ModelBuilder()
    build.straight(build.linear())
    build.hide("scales", container="dict", holds="parameters")
    assert "ParameterDict" in only(RULE, build.program()).help


def test_modules_registered_later_or_elsewhere_are_fine() -> None:
    build = ModelBuilder()
    registered, late = build.linear(), build.linear()
    build.straight(registered)
    build.hide("blocks", registered)
    build.hide("later", late, registered_later=True)
    assert slugs(RULE, build.program()) == []


@pytest.mark.parametrize("attribute", ["_hidden_layers", "frozen_blocks", "teacher"])
def test_names_that_say_so_are_deliberate(attribute: str) -> None:
    build = ModelBuilder()
    build.straight(build.linear())
    build.hide(attribute, build.linear())
    assert slugs(RULE, build.program()) == []


def test_layers_without_parameters_are_fine() -> None:
    build = ModelBuilder()
    build.straight(build.linear())
    build.hide("activations", build.layer("torch.nn.ReLU"), build.layer("torch.nn.MaxPool2d"))
    assert slugs(RULE, build.program()) == []


def test_layers_an_optimizer_was_given_are_fine() -> None:
    build = ModelBuilder()
    layer = build.linear()
    build.straight(build.linear())
    build.hide("layers", layer)
    build.optimizer((layer,))
    assert slugs(RULE, build.program()) == []


def test_layers_that_bring_their_own_optimizer_are_fine() -> None:
    build = ModelBuilder()
    layer = build.linear()
    own = build.optimizer(None)
    build.objects[layer] = Object(
        id=layer,
        kind=ObjectKind.MODEL,
        cls="train.Layer",
        location=build.objects[layer].location,
        attributes={"opt": Value(object=own)},
    )
    build.straight(build.linear())
    build.hide("layers", layer)
    assert slugs(RULE, build.program()) == []


def parameter(**fields: object) -> Parameter:
    values: dict[str, object] = {
        "name": "weight",
        "module": "",
        "cls": "Linear",
        "shape": (64, 64),
        "requires_grad": True,
        "weight_rms": 0.07,
        "grad_rms": 1e-3,
        "missing": False,
        "zero": False,
        "registered": False,
        "optimized": False,
        "symmetric": False,
        "place": Place("train.py", 16),
    }
    return Parameter(**(values | fields))  # type: ignore[arg-type]


def test_parameters_reached_but_not_listed_confirm_it_once_per_place() -> None:
    seen = observations(parameters=(parameter(), parameter(name="bias", shape=(64,))))
    (finding,) = RULE.measured(seen)
    assert finding.location.line == 16
    assert finding.evidence[0].value == 2.0


@pytest.mark.parametrize(
    "fields",
    [
        {"registered": True},
        {"optimized": True},
        {"requires_grad": False},
        {"reached": False},
        {"cls": ""},
    ],
)
def test_listed_optimised_frozen_and_foreign_tensors_are_fine(fields: dict[str, object]) -> None:
    assert list(RULE.measured(observations(parameters=(parameter(**fields),)))) == []


def test_the_reading_counts_what_is_listed() -> None:
    seen = observations(parameters=(parameter(registered=True), parameter(registered=True)))
    assert RULE.reading(seen) == "the model lists 2 of the 2 parameters the loss depends on"
    assert RULE.reading(observations()) is None


@pytest.mark.parametrize(
    "ops", [("relu", "sigmoid"), ("relu", "dropout", "softmax"), ("sigmoid", "sigmoid")]
)
def test_two_activations_in_a_row_are_found(ops: tuple[str, ...]) -> None:
    build = ModelBuilder()
    build.straight(build.linear(), *ops)
    assert slugs(STACKED, build.program()) == ["stacked-activations"]


@pytest.mark.parametrize(
    "ops",
    [
        ("relu", "linear", "sigmoid"),
        ("relu", "batch_norm1d", "relu"),
        ("relu", "max_pool2d"),
        ("relu", "relu"),
        ("tanh", "softmax"),
        ("leaky_relu", "softmax"),
        ("relu", "softmax", "matmul"),
        ("relu", "<unknown>", "sigmoid"),
    ],
)
def test_separated_idempotent_and_scoring_activations_are_fine(ops: tuple[str, ...]) -> None:
    build = ModelBuilder()
    build.straight(build.linear(), *ops)
    assert slugs(STACKED, build.program()) == []


def test_a_softmax_without_a_dimension_is_found_as_module_and_as_function() -> None:
    build = ModelBuilder()
    layer = build.layer("torch.nn.Softmax")
    build.calls.append(Call(name="torch.nn.functional.log_softmax", location=at(70)))
    found = {finding.location for finding in NO_DIM.static(build.program())}
    assert found == {at(70), build.objects[layer].location}


def test_a_softmax_with_a_dimension_or_unknown_arguments_is_fine() -> None:
    build = ModelBuilder()
    build.layer("torch.nn.Softmax", dim=literal(1))
    build.layer("torch.nn.Softmax", **{"**": Value()})
    name = "torch.nn.functional.softmax"
    build.calls.append(Call(name=name, location=at(71), args={"dim": literal(-1)}))
    build.calls.append(Call(name=name, location=at(72), args={"dim": Value()}))
    assert slugs(NO_DIM, build.program()) == []
