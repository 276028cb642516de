"""Recomputed losses against torch's own and against closed forms (PROBES.md M2)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.nn import functional

from convlint.gpu_probes.quantities import loss_elements, loss_inputs
from convlint.gpu_probes.quantities.initial_loss import LossRecorder

if TYPE_CHECKING:
    from convlint.gpu_probes.observations import LossFunction


def seen(
    function: str, *calls: tuple[torch.Tensor, torch.Tensor], **arguments: Any
) -> LossFunction:
    recorder = LossRecorder()
    for scores, target in calls:
        scores = scores.detach().requires_grad_()
        result = getattr(functional, function)(scores, target, **arguments)
        recorder.observe(function, scores, target, arguments, None, result)
    (loss,) = recorder.results()
    return loss


def logits(rows: int, classes: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, classes, generator=generator, dtype=torch.float64)


def labels(rows: int, classes: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, classes, (rows,), generator=torch.Generator().manual_seed(seed))


def entropy(*shares: float) -> float:
    return -sum(share * math.log(share) for share in shares if share)


CLASS_WEIGHTS = torch.tensor([0.2, 1.0, 3.0, 0.5, 1.5], dtype=torch.float64)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_zero_initialised_classifier_costs_exactly_ln_c(smoothing: float) -> None:
    model = torch.nn.Linear(20, 7)
    torch.nn.init.zeros_(model.weight)
    torch.nn.init.zeros_(model.bias)
    loss = seen(
        "cross_entropy",
        (model(torch.randn(35, 20)), torch.arange(35) % 7),
        label_smoothing=smoothing,
    )
    assert loss.initial.value == pytest.approx(math.log(7), abs=1e-6)
    assert loss.uniform is not None
    assert loss.uniform.value == pytest.approx(math.log(7), abs=1e-12)
    assert loss.uninformed.value == pytest.approx(math.log(7), abs=1e-12)
    assert loss.label_smoothing == smoothing


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"weight": CLASS_WEIGHTS},
        {"label_smoothing": 0.2},
        {"weight": CLASS_WEIGHTS, "label_smoothing": 0.2},
        {"weight": CLASS_WEIGHTS, "label_smoothing": 0.2, "ignore_index": 3},
        {"ignore_index": 0},
    ],
)
def test_cross_entropy_mean_equals_torch(arguments: dict[str, Any]) -> None:
    scores, target = logits(200, 5), labels(200, 5)
    loss = seen("cross_entropy", (scores, target), **arguments)
    expected = functional.cross_entropy(scores, target, **arguments)
    assert loss.initial.value == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_the_mean_does_not_depend_on_the_reduction(reduction: str) -> None:
    scores, target = logits(60, 5), labels(60, 5)
    target[:10] = -100
    loss = seen("cross_entropy", (scores, target), reduction=reduction)
    expected = functional.cross_entropy(scores, target)
    assert loss.initial.value == pytest.approx(expected.item(), rel=1e-12)
    assert loss.initial.n == 50
    assert loss.reduction == reduction


def test_dense_prediction_with_class_probabilities_equals_torch() -> None:
    scores = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    target = torch.randn(2, 5, 3, 4, dtype=torch.float64).softmax(1)
    arguments = {"weight": CLASS_WEIGHTS, "label_smoothing": 0.1}
    loss = seen("cross_entropy", (scores, target), **arguments)
    expected = functional.cross_entropy(scores, target, **arguments)
    assert loss.initial.value == pytest.approx(expected.item(), rel=1e-12)
    assert loss.classes == 5


def test_large_vocabularies_in_chunks_equal_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_elements, "CHUNK", 64)
    monkeypatch.setattr(loss_inputs, "CHUNK", 64)
    scores, target = logits(50, 33), labels(50, 33)
    loss = seen("cross_entropy", (scores, target), label_smoothing=0.1)
    expected = functional.cross_entropy(scores, target, label_smoothing=0.1)
    assert loss.initial.value == pytest.approx(expected.item(), rel=1e-12)
    assert loss.rows_sum_to_one == 0


def test_the_uninformed_loss_is_the_entropy_of_labels_pooled_over_batches() -> None:
    first, second = torch.tensor([0, 0, 0, 1]), torch.tensor([2, 2, 1, -100])
    loss = seen("cross_entropy", (logits(4, 4), first), (logits(4, 4), second))
    assert loss.uninformed.value == pytest.approx(entropy(3 / 7, 2 / 7, 2 / 7))
    assert loss.uninformed.n == 7
    assert loss.calls == 2


@pytest.mark.parametrize(
    "arguments",
    [{"weight": CLASS_WEIGHTS}, {"weight": CLASS_WEIGHTS, "label_smoothing": 0.2}],
)
def test_no_constant_prediction_beats_the_uninformed_loss(arguments: dict[str, Any]) -> None:
    target = labels(300, 5)
    constant = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([constant], max_iter=200, tolerance_grad=1e-12)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = functional.cross_entropy(constant.expand(300, 5), target, **arguments)
        value.backward()
        return value

    optimizer.step(closure)
    loss = seen("cross_entropy", (logits(300, 5), target), **arguments)
    assert loss.uninformed.value == pytest.approx(closure().item(), rel=1e-8)


def test_nll_equals_torch() -> None:
    scores, target = logits(80, 5).log_softmax(-1), labels(80, 5)
    loss = seen("nll_loss", (scores, target), weight=CLASS_WEIGHTS)
    expected = functional.nll_loss(scores, target, weight=CLASS_WEIGHTS)
    assert loss.initial.value == pytest.approx(expected.item(), rel=1e-12)
    assert loss.rows_log_probabilities == 1.0


@pytest.mark.parametrize("function", ["binary_cross_entropy", "binary_cross_entropy_with_logits"])
def test_binary_losses_equal_torch(function: str) -> None:
    scores, target = logits(90, 3), (logits(90, 3, 1) > 0.5).double()
    arguments: dict[str, Any] = {"weight": torch.tensor([1.0, 0.5, 2.0]).double()}
    if function == "binary_cross_entropy":
        scores = scores.sigmoid()
    else:
        arguments["pos_weight"] = torch.tensor([4.0, 1.0, 0.3]).double()
    loss = seen(function, (scores, target), **arguments)
    expected = getattr(functional, function)(scores, target, **arguments)
    assert loss.initial.value == pytest.approx(expected.item(), rel=1e-12)


def test_the_binary_uninformed_loss_is_the_mean_entropy_of_the_outputs() -> None:
    target = torch.zeros(8, 2)
    target[:2, 0] = 1
    target[:4, 1] = 1
    loss = seen("binary_cross_entropy_with_logits", (torch.zeros(8, 2), target))
    assert loss.initial.value == pytest.approx(math.log(2))
    assert loss.uniform is not None
    assert loss.uniform.value == pytest.approx(math.log(2))
    expected = (entropy(0.25, 0.75) + entropy(0.5, 0.5)) / 2
    assert loss.uninformed.value == pytest.approx(expected)


def test_positive_weights_enter_the_binary_uninformed_loss() -> None:
    target = torch.tensor([1.0, 0.0, 0.0, 0.0])
    loss = seen(
        "binary_cross_entropy_with_logits",
        (torch.zeros(4), target),
        pos_weight=torch.tensor(3.0),
    )
    # Weighted positives balance the negatives: (3 + 3) / 4 times ln 2.
    assert loss.uninformed.value == pytest.approx(1.5 * math.log(2))


def test_squared_error_against_the_variance_of_its_targets() -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(100, 3, generator=generator) * torch.tensor([1.0, 2.0, 3.0]) + 1e4
    halves = target.split(50)
    loss = seen("mse_loss", *((torch.zeros(50, 3), half) for half in halves))
    expected = target.double().var(dim=0, correction=0).mean().item()
    assert loss.uninformed.value == pytest.approx(expected, rel=1e-6)
    assert loss.initial.value == pytest.approx(target.double().square().mean().item(), rel=1e-9)
    assert loss.uniform is None
    assert loss.broadcast is None


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize("function", ["mse_loss", "l1_loss", "smooth_l1_loss"])
def test_an_accidental_broadcast_is_reported(function: str) -> None:
    scores, target = torch.randn(6, 1), torch.randn(6)
    loss = seen(function, (scores, target))
    assert loss.broadcast == (6, 6)
    expected = getattr(functional, function)(scores, target)
    assert loss.initial.value == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("scores", "sums_to_one", "log_rows"),
    [
        (logits(64, 5), 0.0, 0.0),
        (logits(64, 5).softmax(-1), 1.0, 0.0),
        (logits(64, 5).softmax(-1).bfloat16(), 1.0, 0.0),
        (logits(64, 5).log_softmax(-1), 0.0, 1.0),
        (torch.zeros(64, 5), 0.0, 0.0),
    ],
)
def test_what_enters_the_cross_entropy(
    scores: torch.Tensor, sums_to_one: float, log_rows: float
) -> None:
    loss = seen("cross_entropy", (scores, labels(64, 5)))
    assert loss.rows_sum_to_one == sums_to_one
    assert loss.rows_log_probabilities == log_rows


@pytest.mark.parametrize(
    ("scores", "share"),
    [
        (logits(64, 2).sigmoid(), 1.0),
        (torch.zeros(64, 2), 0.0),
        (logits(64, 2).relu().clamp(max=0.9), None),
    ],
)
def test_only_values_strictly_inside_the_unit_interval_look_like_a_sigmoid(
    scores: torch.Tensor, share: float | None
) -> None:
    loss = seen("binary_cross_entropy_with_logits", (scores, torch.ones_like(scores)))
    assert loss.values_in_unit_interval is not None
    if share is None:
        assert loss.values_in_unit_interval < 0.7
    else:
        assert loss.values_in_unit_interval == share
    assert loss.rows_sum_to_one is None


def test_one_class_makes_no_rows_to_judge() -> None:
    loss = seen("cross_entropy", (torch.ones(4, 1), torch.zeros(4, dtype=torch.int64)))
    assert loss.rows_sum_to_one is None
    assert loss.classes == 1


def test_the_interval_narrows_with_the_elements() -> None:
    loss = seen("cross_entropy", (logits(4000, 5), labels(4000, 5)))
    elements = functional.cross_entropy(logits(4000, 5), labels(4000, 5), reduction="none")
    assert loss.initial.ci is not None
    half = (loss.initial.ci[1] - loss.initial.ci[0]) / 2
    assert half == pytest.approx(1.9605 * elements.std().item() / math.sqrt(4000), rel=1e-3)


def test_a_loss_without_a_closed_form_is_taken_as_returned() -> None:
    scores, target = logits(10, 5).log_softmax(-1), logits(10, 5, 1).softmax(-1)
    loss = seen("kl_div", (scores, target), reduction="batchmean")
    expected = functional.kl_div(scores, target, reduction="batchmean")
    assert loss.initial.value == pytest.approx(expected.item())
    assert loss.initial.note == "as returned, reduction batchmean"
    assert loss.uninformed.value is None
    assert loss.rows_log_probabilities == 1.0


def test_a_loss_that_is_not_finite_has_no_value() -> None:
    loss = seen("mse_loss", (torch.tensor([math.nan, 1.0]), torch.zeros(2)))
    assert loss.initial.value is None
    assert loss.initial.ci is None


def test_a_result_without_a_graph_is_not_back_propagated() -> None:
    recorder = LossRecorder()
    scores, target = logits(4, 5), labels(4, 5)
    result = functional.cross_entropy(scores, target)
    recorder.observe("cross_entropy", scores, target, {}, None, result)
    assert not recorder.results()[0].back_propagated


def test_the_graph_and_the_random_state_stay_untouched() -> None:
    scores, target = logits(20, 5).requires_grad_(), labels(20, 5)
    result = functional.cross_entropy(scores, target)
    node, state = result.grad_fn, torch.get_rng_state()
    LossRecorder().observe("cross_entropy", scores, target, {}, None, result)
    assert result.grad_fn is node
    assert torch.equal(torch.get_rng_state(), state)
    assert scores.grad is None


def test_deprecated_reduction_arguments_are_understood() -> None:
    recorder = LossRecorder()
    scores, target = torch.zeros(4, requires_grad=True), torch.ones(4)
    result = (scores - target).square().sum()
    arguments = {"size_average": False, "reduce": None, "reduction": "mean"}
    recorder.observe("mse_loss", scores, target, arguments, None, result)
    assert recorder.results()[0].reduction == "sum"


@pytest.mark.parametrize(
    ("compute", "name"),
    [
        (lambda layer, x: layer(x), "Addmm"),
        (lambda layer, x: layer(x).squeeze(1)[:3], "Addmm"),
        (lambda layer, x: torch.sigmoid(layer(x)).view(-1), "Sigmoid"),
        (lambda layer, x: x, ""),
    ],
)
def test_what_made_the_scores_is_seen_through_reshaping(compute, name) -> None:
    from convlint.gpu_probes.quantities.loss_inputs import made_by

    assert made_by(compute(torch.nn.Linear(4, 1), torch.randn(8, 4))) == name
