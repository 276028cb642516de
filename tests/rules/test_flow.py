"""Gradient flow, activations and the wiring of parameters: what is a fault and what is not."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from measurements import (
    SCRIPT,
    activation,
    course,
    cross_entropy,
    flat,
    flow,
    found,
    healthy,
    number,
    parameter,
    place,
    severities,
)

from convlint.findings import Severity
from convlint.gpu_probes.observations import GradientFlow, NonFinite, Observations
from convlint.rules import all_rules
from convlint.rules.flow.dead_units import DeadUnits
from convlint.rules.flow.exploding_gradient import ExplodingGradient
from convlint.rules.flow.non_finite import NonFiniteValue
from convlint.rules.flow.parameter_not_optimized import ParameterNotOptimized
from convlint.rules.flow.parameter_without_gradient import ParameterWithoutGradient
from convlint.rules.flow.saturated_activations import SaturatedActivations
from convlint.rules.flow.symmetric_init import SymmetricInit
from convlint.rules.flow.vanishing_gradient import VanishingGradient

INFO, WARNING, ERROR = Severity.INFO, Severity.WARNING, Severity.ERROR
UNMEASURED = healthy(
    gradient_noise=None,
    backwards=0,
    steps=0,
    activations=(),
    gradient_flow=(),
    parameters=(),
    losses=(),
    optimizers=(),
    updates=(),
    curvature=(),
    overfit=None,
    sample_dependence=(),
    graph_growth=None,
    baseline=None,
    convergence=None,
    series=replace(healthy().series, loss=(), gradient_norm=(), learning_rate=(), seconds=()),
)


def measured_only() -> list[str]:
    return [
        rule.slug
        for rule in all_rules()
        if rule.code[:3] in ("FLO", "CRV", "CVG") and rule.has_measured()
    ]


@pytest.mark.parametrize("slug", measured_only())
def test_a_healthy_run_has_readings_and_no_findings(slug: str) -> None:
    rule = next(rule for rule in all_rules() if rule.slug == slug)
    assert found(rule, healthy()) == []
    if slug != "saturated-activations":  # the healthy run has no sigmoid to read
        assert rule.reading(healthy())


@pytest.mark.parametrize("slug", measured_only())
def test_nothing_is_said_where_nothing_was_measured(slug: str) -> None:
    rule = next(rule for rule in all_rules() if rule.slug == slug)
    assert found(rule, UNMEASURED) == []
    assert rule.reading(UNMEASURED) is None


# A sigmoid chain multiplies the gradient by at most 1/4 per layer.
SIGMOID = math.exp(-1.45)


def test_a_sigmoid_stack_vanishes_and_points_at_its_first_layer() -> None:
    (finding,) = found(VanishingGradient(), healthy(gradient_flow=(flow(SIGMOID, 8),)))
    assert finding.severity is WARNING
    assert finding.location.line == 10
    assert finding.location.path == SCRIPT
    assert "3.91e-05" in finding.message


def test_a_lost_gradient_with_a_standing_loss_is_an_error() -> None:
    seen = healthy(gradient_flow=(flow(SIGMOID, 12),), **course("stalled", flat()))
    assert severities(VanishingGradient(), seen) == [ERROR]


def test_default_initialised_relu_layers_that_train_are_not_vanishing() -> None:
    # PyTorch's default initialisation loses a factor 0.41 per ReLU layer.
    assert found(VanishingGradient(), healthy(gradient_flow=(flow(0.41, 7),))) == []


def test_an_uncertain_slope_is_not_vanishing() -> None:
    unsure = flow(SIGMOID, 6, margin=2.0)
    assert found(VanishingGradient(), healthy(gradient_flow=(unsure,))) == []


def thin_outputs(chain: GradientFlow) -> GradientFlow:
    """The gradient of outputs is spread thinly by pooling, that of the weights is not."""
    layers = tuple(replace(layer, weight_grad_rms=1e-3) for layer in chain.layers)
    return replace(
        chain,
        layers=layers,
        slope=replace(chain.slope, value=None, ci=None),
        end_to_end=number(5e-5),
    )


def test_pooling_spreads_the_gradient_without_losing_it() -> None:
    assert found(VanishingGradient(), healthy(gradient_flow=(thin_outputs(flow(0.3, 8)),))) == []


def test_an_exact_zero_behind_a_zero_initialised_head_is_not_vanishing() -> None:
    closed = replace(
        flow(0.9, 8), slope=number(None), end_to_end=number(0.0), layers=flow(0.9, 8).layers
    )
    assert found(VanishingGradient(), healthy(gradient_flow=(closed,))) == []


def test_a_tiny_embedding_at_the_entrance_is_left_out() -> None:
    chain = flow(0.9, 5)
    first = replace(chain.layers[0], cls="Embedding", output_grad_rms=1e4, output_rms=1e-4)
    tiny = replace(
        chain,
        layers=(first, *chain.layers[1:]),
        slope=number(None),
        end_to_end=number(1e6),
        forward_end_to_end=number(1e5),
    )
    assert found(ExplodingGradient(), healthy(gradient_flow=(tiny,))) == []


def test_an_exploding_chain_is_found() -> None:
    (finding,) = found(ExplodingGradient(), healthy(gradient_flow=(flow(4.0, 8),)))
    assert "explodes" in finding.message
    assert "16,384" in finding.message


def test_an_exploding_forward_signal_is_found() -> None:
    seen = healthy(gradient_flow=(replace(flow(1.0, 4), forward_end_to_end=number(1e6)),))
    assert "output of the last" in found(ExplodingGradient(), seen)[0].message


def test_dead_units_of_the_first_layer_warn_and_most_of_them_break_it() -> None:
    some = healthy(activations=(activation(dead_fraction=0.4),))
    most = healthy(activations=(activation(dead_fraction=0.9),))
    assert severities(DeadUnits(), some) == [WARNING]
    assert severities(DeadUnits(), most) == [ERROR]
    assert "90 % of the 128 units of relu1" in found(DeadUnits(), most)[0].message


def test_units_behind_a_bottleneck_can_come_back() -> None:
    layers = (activation(), activation("decoder.1", depth=4, dead_fraction=0.4))
    assert severities(DeadUnits(), healthy(activations=layers)) == [INFO]
    stuck = healthy(activations=layers, **course("stalled", flat()))
    assert severities(DeadUnits(), stuck) == [WARNING]


def test_dead_layers_are_one_finding() -> None:
    layers = tuple(activation(f"relu{i}", depth=i, dead_fraction=0.5) for i in range(1, 8))
    (finding,) = found(DeadUnits(), healthy(activations=(activation("ok", depth=0), *layers)))
    assert "7 of 8 layers: relu1, relu2, relu3 and 4 more" in finding.message


@pytest.mark.parametrize(
    "activations",
    [
        (activation(dead_fraction=0.6, samples=64),),
        (activation(dead_fraction=0.5, units=4),),
        (activation(kind="gelu", dead_fraction=None, saturated_fraction=0.1),),
        (activation(kind="leaky_relu", dead_fraction=0.9),),
    ],
    ids=["few samples", "few units", "live gelu", "leaky"],
)
def test_dead_units_need_evidence(activations: tuple[object, ...]) -> None:
    assert found(DeadUnits(), healthy(activations=activations)) == []


def test_flat_gelu_units_are_dead() -> None:
    flat_gelu = activation(kind="gelu", dead_fraction=None, saturated_fraction=0.5)
    assert severities(DeadUnits(), healthy(activations=(flat_gelu,))) == [WARNING]


def test_a_frozen_backbone_may_be_sparse() -> None:
    seen = healthy(
        activations=(activation(dead_fraction=0.9),),
        parameters=(parameter(requires_grad=False), parameter("head.weight", depth=5)),
        recognised=("frozen parameters",),
    )
    assert found(DeadUnits(), seen) == []


def test_a_pretrained_model_may_be_sparse() -> None:
    seen = healthy(activations=(activation(dead_fraction=0.9),), losses=(cross_entropy(0.4),))
    assert found(DeadUnits(), seen) == []


def tanh(saturated: float, **rest: object) -> object:
    return activation(
        "act", **{"kind": "tanh", "dead_fraction": None, "saturated_fraction": saturated, **rest}
    )


def test_saturated_tanh_warns_and_breaks() -> None:
    assert severities(SaturatedActivations(), healthy(activations=(tanh(0.5),))) == [WARNING]
    assert severities(SaturatedActivations(), healthy(activations=(tanh(0.9),))) == [ERROR]


def test_saturation_reads_its_number() -> None:
    reading = SaturatedActivations().reading(healthy(activations=(tanh(0.1),)))
    assert reading == "at most 10 % of a layer's units are saturated (act)"


@pytest.mark.parametrize(
    "act",
    [
        tanh(0.9, inside="LSTM"),
        tanh(0.9, kind="sigmoid", depth=9),
        tanh(0.9, kind="softmax"),
        tanh(0.9, samples=16),
    ],
    ids=["recurrent gate", "output for a rare class", "softmax over many", "few samples"],
)
def test_flat_tails_by_design_are_fine(act: object) -> None:
    assert found(SaturatedActivations(), healthy(activations=(act,))) == []


def test_constant_weights_are_symmetric() -> None:
    seen = healthy(parameters=(parameter(symmetric=True), parameter("fc2.weight", depth=2)))
    (finding,) = found(SymmetricInit(), seen)
    assert finding.severity is ERROR
    assert "128 units of fc1.weight" in finding.message


def test_an_all_zero_network_is_symmetric_and_nothing_else() -> None:
    zeros = {"symmetric": True, "weight_rms": 0.0, "grad_rms": 0.0, "zero": True}
    seen = healthy(
        parameters=(
            parameter("fc1.weight", **zeros),
            parameter("fc1.bias", shape=(128,), **{**zeros, "symmetric": False}),
            parameter("fc2.weight", depth=2, **zeros),
            parameter("fc2.bias", shape=(10,), depth=2, weight_rms=0.0, grad_rms=0.1),
        )
    )
    assert "fc1.weight and fc2.weight" in found(SymmetricInit(), seen)[0].message
    assert found(ParameterWithoutGradient(), seen) == []


def zero_head(**first: object) -> Observations:
    """A last layer that starts at zero: nothing flows back before the first step."""
    return healthy(
        parameters=(
            parameter("fc1.weight", grad_rms=0.0, zero=True, **first),
            parameter("head.weight", depth=2, shape=(10, 128), weight_rms=0.0, grad_rms=0.01),
        )
    )


def test_a_zero_initialised_head_hides_the_layers_below_for_one_step() -> None:
    assert found(SymmetricInit(), zero_head(symmetric=True)) == []
    assert found(ParameterWithoutGradient(), zero_head()) == []


@pytest.mark.parametrize(
    "weight",
    [
        parameter("out.weight", symmetric=True, shape=(1, 64)),
        parameter("token.weight", symmetric=True, cls="Embedding"),
        parameter("position", symmetric=True, shape=(48, 64), weight_rms=0.0),
        parameter("blur.weight", symmetric=True, requires_grad=False),
    ],
    ids=["one unit", "embedding", "position table", "frozen kernel"],
)
def test_equal_rows_that_do_no_harm(weight: object) -> None:
    assert found(SymmetricInit(), healthy(parameters=(weight,))) == []


def event(what: str = "loss", kind: str = "NaN", **rest: object) -> NonFinite:
    values = {"name": what, "phase": "run", "step": 7, "place": place(31), **rest}
    return NonFinite(what=what, kind=kind, **values)


def test_nan_in_the_loss_is_an_error_at_its_line() -> None:
    (finding,) = found(NonFiniteValue(), healthy(non_finite=(event(),)))
    assert finding.severity is ERROR
    assert finding.message == "NaN in the loss at step 7"
    assert finding.location.line == 31
    assert NonFiniteValue().reading(healthy(non_finite=(event(),))) is None


def test_infinity_is_called_so() -> None:
    (finding,) = found(NonFiniteValue(), healthy(non_finite=(event("weight", "-inf", name="fc1"),)))
    assert finding.message == "infinity in the weight fc1 at step 7"


def test_the_earliest_value_names_the_origin() -> None:
    seen = healthy(non_finite=(event(), event("input", name="x", phase="hold", step=2)))
    (finding,) = found(NonFiniteValue(), seen)
    assert finding.message == "NaN in the input x before the first step"
    assert "clean the data" in finding.help


def test_overflowing_gradients_under_a_scaler_are_its_business() -> None:
    overflow = event("gradient", "inf", phase="hold", step=0)
    assert (
        found(NonFiniteValue(), healthy(non_finite=(overflow,), recognised=("GradScaler",))) == []
    )
    assert severities(NonFiniteValue(), healthy(non_finite=(overflow,))) == [ERROR]


def test_masked_scores_are_fine() -> None:
    assert found(NonFiniteValue(), healthy(non_finite=(event("activation", "-inf"),))) == []


def test_a_trial_point_of_a_line_search_is_fine() -> None:
    seen = healthy(non_finite=(event(kind="inf"),), recognised=("LBFGS",))
    assert found(NonFiniteValue(), seen) == []


def detached(**rest: object) -> tuple[object, ...]:
    return (
        parameter("encoder.weight", grad_rms=None, missing=True, **rest),
        parameter("head.weight", shape=(10, 128), depth=4),
    )


def test_a_detached_random_encoder_is_an_error() -> None:
    (finding,) = found(ParameterWithoutGradient(), healthy(parameters=detached()))
    assert finding.severity is ERROR
    assert "1 of 2 optimized parameters receive no gradient" in finding.message


def test_a_pretrained_encoder_under_no_grad_is_a_warning_at_most() -> None:
    seen = healthy(parameters=detached(weight_rms=0.2))
    assert severities(ParameterWithoutGradient(), seen) == [WARNING]


def test_a_small_unused_pooler_is_a_note() -> None:
    pooler = parameter("pooler.weight", shape=(8, 8), missing=True, grad_rms=None, depth=3)
    seen = healthy(parameters=(*healthy().parameters, pooler))
    assert severities(ParameterWithoutGradient(), seen) == [INFO]


@pytest.mark.parametrize(
    "rest",
    [
        {"optimized": False},
        {"requires_grad": False},
        {"batches": 1},
        {"name": "experts.3.weight"},
    ],
    ids=["target network", "frozen", "one batch", "idle expert"],
)
def test_parameters_that_need_no_gradient(rest: dict[str, object]) -> None:
    name = str(rest.pop("name", "part.weight"))
    lost = parameter(name, missing=True, grad_rms=None, **rest)
    assert found(ParameterWithoutGradient(), healthy(parameters=(lost, parameter()))) == []


def test_a_parameter_that_moved_in_the_run_had_a_gradient() -> None:
    lost = parameter("fc1.weight", missing=True, grad_rms=None)
    seen = healthy(parameters=(lost, parameter("fc2.weight")))
    assert found(ParameterWithoutGradient(), seen) == []


def test_a_bias_before_normalisation_has_no_gradient_and_no_fault() -> None:
    bias = parameter("conv.bias", shape=(16,), zero=True, grad_rms=0.0)
    seen = healthy(parameters=(parameter("conv.weight"), bias))
    assert found(ParameterWithoutGradient(), seen) == []


def head_only(**backbone: object) -> Observations:
    return healthy(
        parameters=(
            parameter("backbone.weight", optimized=False, **backbone),
            parameter("head.weight", shape=(10, 128), depth=4),
        )
    )


def test_a_random_backbone_left_out_is_an_error() -> None:
    (finding,) = found(ParameterNotOptimized(), head_only())
    assert finding.severity is ERROR
    assert "random initial values" in finding.message


def test_a_pretrained_backbone_left_out_is_a_note() -> None:
    assert severities(ParameterNotOptimized(), head_only(weight_rms=0.31)) == [INFO]


def test_a_forgotten_head_is_a_warning() -> None:
    seen = healthy(
        parameters=(
            parameter("encoder.weight"),
            parameter("head.weight", shape=(10, 128), depth=4, optimized=False),
        )
    )
    assert severities(ParameterNotOptimized(), seen) == [WARNING]


def of_another_model(found_gradients: bool) -> Observations:
    """A run whose optimizer holds none of the model's parameters."""
    seen = head_only()
    (use,) = seen.optimizers
    return replace(
        seen,
        parameters=tuple(replace(p, optimized=False) for p in seen.parameters),
        optimizers=(replace(use, found_gradients=found_gradients),),
    )


def test_an_optimizer_of_another_model_is_an_error_at_its_line() -> None:
    seen = of_another_model(found_gradients=False)
    (finding,) = found(ParameterNotOptimized(), seen)
    assert finding.severity is ERROR
    assert "those the optimizer holds receive none" in finding.message
    assert finding.location.line == seen.optimizers[0].place.line


def test_an_optimizer_that_finds_gradients_elsewhere_is_not_judged() -> None:
    assert found(ParameterNotOptimized(), of_another_model(found_gradients=True)) == []


def test_networks_of_other_optimizers_are_not_left_out() -> None:
    seen = replace(head_only(), recognised=("several optimizers",))
    assert found(ParameterNotOptimized(), seen) == []
    assert ParameterNotOptimized().reading(seen) is None


def test_messages_fall_back_to_the_script_without_a_place() -> None:
    seen = healthy(activations=(activation(dead_fraction=0.4, place=None),))
    location = found(DeadUnits(), seen)[0].location
    assert (location.path, location.line, location.column) == (SCRIPT, 1, 1)
