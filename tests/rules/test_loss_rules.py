"""What enters the loss: static and measured."""

from __future__ import annotations

import dataclasses

import pytest
from builders import literal
from model_builders import ModelBuilder, only, slugs
from observed import observations

from convlint.findings import Confidence
from convlint.gpu_probes.observations import LossFunction, Measurement
from convlint.program.facts import ObjectKind, Value
from convlint.rules.loss.mse_shape_broadcast import MseShapeBroadcast
from convlint.rules.loss.nll_needs_log_probs import NllNeedsLogProbs
from convlint.rules.loss.sigmoid_into_bce_logits import SigmoidIntoBceLogits
from convlint.rules.loss.softmax_into_cross_entropy import SoftmaxIntoCrossEntropy

SOFTMAX, SIGMOID = SoftmaxIntoCrossEntropy(), SigmoidIntoBceLogits()
NLL, BROADCAST = NllNeedsLogProbs(), MseShapeBroadcast()


def test_softmax_at_the_end_of_the_model_is_found_at_the_loss() -> None:
    build = ModelBuilder()
    build.straight(build.linear(), "softmax")
    place = build.loss("cross_entropy", build.output())
    finding = only(SOFTMAX, build.program())
    assert finding.location == place
    assert finding.confidence is Confidence.HIGH
    assert finding.related


def test_softmax_is_seen_through_reshapes() -> None:
    build = ModelBuilder()
    build.straight(build.linear(), "softmax", "permute", "contiguous", "view", "float")
    build.loss("cross_entropy", build.output())
    assert slugs(SOFTMAX, build.program()) == ["softmax-into-cross-entropy"]


def test_one_softmax_before_several_losses_is_one_finding() -> None:
    build = ModelBuilder()
    build.straight(build.linear(), "softmax")
    build.loss("cross_entropy", build.output())
    build.loss("cross_entropy", build.output())
    assert len(slugs(SOFTMAX, build.program())) == 1


@pytest.mark.parametrize(
    "ops", [(), ("log_softmax",), ("softmax", "log"), ("softmax", "<unknown>")]
)
def test_logits_and_log_probabilities_are_fine_for_cross_entropy(ops: tuple[str, ...]) -> None:
    build = ModelBuilder()
    build.straight(build.linear(), *ops)
    build.loss("cross_entropy", build.output())
    assert slugs(SOFTMAX, build.program()) == []


def test_softmax_outside_training_mode_only_is_fine() -> None:
    build = ModelBuilder()
    build.straight(build.linear())
    logits = build.output()
    joined = build.flow("<join>", logits, build.flow("softmax", logits))
    build.loss("cross_entropy", joined)
    assert slugs(SOFTMAX, build.program()) == []


def test_softmax_for_a_metric_or_a_soft_target_is_fine() -> None:
    build = ModelBuilder()
    build.straight(build.linear())
    logits = build.output()
    probabilities = build.flow("softmax", logits)
    build.loss("cross_entropy", logits, probabilities)
    build.loss("cross_entropy", probabilities, context=("no_grad",))
    build.loss("mse_loss", probabilities)
    assert slugs(SOFTMAX, build.program()) == []


def test_an_unknown_model_is_not_judged() -> None:
    build = ModelBuilder()
    output = build.flow("<unknown>", build.flow("softmax", build.flow("<symbol>")))
    build.loss("cross_entropy", output)
    build.loss("nll_loss", output)
    build.loss("binary_cross_entropy_with_logits", output)
    build.loss("cross_entropy", None)
    program = build.program()
    assert [slugs(rule, program) for rule in (SOFTMAX, NLL, SIGMOID)] == [[], [], []]


def test_another_librarys_cross_entropy_is_not_judged() -> None:
    build = ModelBuilder()
    criterion = build.add(ObjectKind.LOSS, "monai.losses.CrossEntropyLoss")
    build.loss("cross_entropy", build.flow("softmax", build.flow("<input>")), object=criterion)
    assert slugs(SOFTMAX, build.program()) == []


@pytest.mark.parametrize(
    "loss",
    ["binary_cross_entropy_with_logits", "sigmoid_focal_loss", "multilabel_soft_margin_loss"],
)
def test_sigmoid_before_a_loss_that_has_one_is_found(loss: str) -> None:
    build = ModelBuilder()
    build.straight(build.linear(64, 1), "sigmoid", "squeeze")
    place = build.loss(loss, build.output())
    assert only(SIGMOID, build.program()).location == place


def test_sigmoid_before_bce_is_the_right_pair() -> None:
    build = ModelBuilder()
    build.straight(build.linear(64, 1), "sigmoid")
    build.loss("binary_cross_entropy", build.output())
    assert slugs(SIGMOID, build.program()) == []


def test_sigmoid_for_a_dice_loss_beside_raw_logits_is_fine() -> None:
    build = ModelBuilder()
    build.straight(build.linear(64, 1))
    logits = build.output()
    build.flow("sum", build.flow("mul", build.flow("sigmoid", logits), build.flow("<batch>")))
    build.loss("binary_cross_entropy_with_logits", logits)
    assert slugs(SIGMOID, build.program()) == []


def test_nll_of_probabilities_is_certain() -> None:
    build = ModelBuilder()
    build.straight(build.linear(), "softmax")
    build.loss("nll_loss", build.output())
    assert only(NLL, build.program()).confidence is Confidence.HIGH


def test_nll_of_a_linear_layer_is_likely() -> None:
    build = ModelBuilder()
    build.straight(build.linear())
    build.loss("nll_loss", build.output())
    assert only(NLL, build.program()).confidence is Confidence.MEDIUM


@pytest.mark.parametrize("ops", [("log_softmax",), ("softmax", "log"), ("softmax", "add", "log")])
def test_nll_of_log_probabilities_is_fine(ops: tuple[str, ...]) -> None:
    build = ModelBuilder()
    build.straight(build.linear(), *ops)
    build.loss("nll_loss", build.output())
    assert slugs(NLL, build.program()) == []


def regression(
    *shaping: str, target_ops: tuple[str, ...] = ("tensor",), width: int = 1
) -> ModelBuilder:
    """A model with ``width`` outputs trained on the diabetes data through a loader."""
    build = ModelBuilder()
    x = build.flow("tensor", build.array("load_diabetes", 0))
    y = build.array("load_diabetes", 1)
    for op in target_ops:
        y = build.flow(op, y)
    loader = build.loader(build.tensor_dataset(x, y))
    build.straight(
        build.linear(10, 32),
        "relu",
        build.linear(32, width),
        *shaping,
        start=build.batch(loader, 0),
    )
    build.loss("mse_loss", build.output(), build.batch(loader, 1))
    return build


def test_a_column_against_a_vector_broadcasts() -> None:
    assert slugs(BROADCAST, regression().program()) == ["mse-shape-broadcast"]


def test_shifting_and_scaling_the_target_keeps_it_a_vector() -> None:
    build = ModelBuilder()
    y = build.array("load_diabetes", 1)
    centred = build.flow("sub", y, build.flow("mean", y))
    scaled = build.flow("tensor", build.flow("div", centred, build.flow("std", y)))
    build.straight(build.linear(10, 1))
    build.loss("mse_loss", build.output(), scaled)
    assert slugs(BROADCAST, build.program()) == ["mse-shape-broadcast"]


@pytest.mark.parametrize("shaping", ["squeeze", "view", "flatten", "reshape"])
def test_a_reshaped_prediction_is_fine(shaping: str) -> None:
    assert slugs(BROADCAST, regression(shaping).program()) == []


@pytest.mark.parametrize("shaping", ["unsqueeze", "view", "reshape", "<unknown>"])
def test_a_reshaped_or_unknown_target_is_fine(shaping: str) -> None:
    assert slugs(BROADCAST, regression(target_ops=("tensor", shaping)).program()) == []


def test_a_wider_prediction_is_not_judged() -> None:
    assert slugs(BROADCAST, regression(width=3).program()) == []


def test_a_target_given_a_new_axis_is_fine() -> None:
    build = ModelBuilder()
    axis = build.flow("getitem", build.array("load_diabetes", 1), args={"index": Value(items=())})
    build.straight(build.linear(10, 1))
    build.loss("mse_loss", build.output(), axis)
    assert slugs(BROADCAST, build.program()) == []


def test_the_target_of_an_unknown_dataset_is_not_judged() -> None:
    build = ModelBuilder()
    dataset = build.add(ObjectKind.DATASET, "train.Prices", bases=("torch.utils.data.Dataset",))
    loader = build.loader(dataset, shuffle=literal(True))
    build.straight(build.linear(10, 1), start=build.batch(loader, 0))
    build.loss("mse_loss", build.output(), build.batch(loader, 1))
    assert slugs(BROADCAST, build.program()) == []


def seen_loss(function: str, **fields: object) -> LossFunction:
    base = LossFunction(
        function=function,
        calls=8,
        initial=Measurement(2.3),
        uninformed=Measurement(2.3),
        uniform=None,
        classes=10,
        reduction="mean",
        input_shape=(32, 10),
        target_shape=(32,),
        broadcast=None,
        rows_sum_to_one=0.0,
        values_in_unit_interval=0.3,
        rows_log_probabilities=0.0,
    )
    return dataclasses.replace(base, **fields)  # type: ignore[arg-type]


def test_rows_that_sum_to_one_confirm_a_softmax() -> None:
    seen = observations(
        losses=(seen_loss("cross_entropy", rows_sum_to_one=1.0, values_in_unit_interval=1.0),)
    )
    assert [f.slug for f in SOFTMAX.measured(seen)] == ["softmax-into-cross-entropy"]


def test_logits_refute_a_softmax_with_a_reading() -> None:
    seen = observations(losses=(seen_loss("cross_entropy"),))
    assert list(SOFTMAX.measured(seen)) == []
    assert SOFTMAX.reading(seen) == "0 % of the rows entering cross-entropy sum to one"


def test_a_loss_that_only_reports_is_not_judged() -> None:
    loss = seen_loss(
        "cross_entropy", rows_sum_to_one=1.0, values_in_unit_interval=1.0, back_propagated=False
    )
    seen = observations(losses=(loss,))
    assert list(SOFTMAX.measured(seen)) == []
    assert SOFTMAX.reading(seen) is None


def test_values_in_the_unit_interval_confirm_a_sigmoid() -> None:
    seen = observations(
        losses=(seen_loss("binary_cross_entropy_with_logits", values_in_unit_interval=1.0),)
    )
    assert len(list(SIGMOID.measured(seen))) == 1


def test_a_handful_of_values_proves_no_sigmoid() -> None:
    loss = seen_loss(
        "binary_cross_entropy_with_logits",
        values_in_unit_interval=1.0,
        input_shape=(1, 1),
        calls=4,
    )
    seen = observations(losses=(loss,))
    assert list(SIGMOID.measured(seen)) == []
    assert SIGMOID.reading(seen) is None


def test_rows_that_are_no_log_probabilities_confirm_nll() -> None:
    raw = observations(losses=(seen_loss("nll_loss"),))
    healthy = observations(losses=(seen_loss("nll_loss", rows_log_probabilities=1.0),))
    assert len(list(NLL.measured(raw))) == 1
    assert list(NLL.measured(healthy)) == []
    assert NLL.reading(healthy) == "100 % of the rows entering nll_loss are log-probabilities"


def test_a_measured_broadcast_is_certain() -> None:
    loss = seen_loss("mse_loss", input_shape=(32, 1), broadcast=(32, 32))
    (finding,) = BROADCAST.measured(observations(losses=(loss,)))
    assert finding.confidence is Confidence.HIGH
    assert "(32, 1)" in finding.message
    assert "(32,)" in finding.message


def test_equal_shapes_are_read_out() -> None:
    seen = observations(losses=(seen_loss("mse_loss", target_shape=(32, 10)),))
    assert list(BROADCAST.measured(seen)) == []
    assert "(32, 10)" in (BROADCAST.reading(seen) or "")


def test_small_logits_of_a_fresh_network_are_no_probabilities() -> None:
    from measurements import found, healthy

    from convlint.gpu_probes.observations import LossFunction, Measurement
    from convlint.rules.loss.sigmoid_into_bce_logits import SigmoidIntoBceLogits

    def given(made_by: str) -> LossFunction:
        return LossFunction(
            function="binary_cross_entropy_with_logits",
            calls=8,
            initial=Measurement(0.69),
            uninformed=Measurement(0.69),
            uniform=Measurement(0.69),
            classes=None,
            reduction="mean",
            input_shape=(64, 1),
            target_shape=(64, 1),
            broadcast=None,
            rows_sum_to_one=None,
            values_in_unit_interval=1.0,
            rows_log_probabilities=None,
            made_by=made_by,
        )

    assert not found(SigmoidIntoBceLogits(), healthy(losses=(given("Addmm"),)))
    assert found(SigmoidIntoBceLogits(), healthy(losses=(given("Sigmoid"),)))
    assert found(SigmoidIntoBceLogits(), healthy(losses=(given(""),)))
