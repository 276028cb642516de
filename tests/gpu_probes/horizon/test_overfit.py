"""Learning one batch by heart tells a wrong model from a wrong rate."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convlint.gpu_probes.horizon.overfit import overfit_one_batch
from convlint.gpu_probes.observations import OverfitOneBatch
from convlint.gpu_probes.tape import Change, TapeRecorder, TapeUnavailable
from convlint.gpu_probes.tape.trajectory import Course, RecordedStep, Start, replay

Loss = Callable[[nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]


def learnt(
    loss: Loss,
    *,
    rate: float = 0.5,
    train: Callable[[nn.Sequential], list[torch.Tensor]] | None = None,
    ignorance: float = 0.0,
) -> OverfitOneBatch:
    """Overfit a perceptron with 64 hidden units on 16 samples of 5 classes."""
    start, step = recorded(loss, rate, train)
    result = overfit_one_batch(
        start,
        step,
        floor=0.0,
        deadline=math.inf,
        learning_rate=rate,
        name="SGD",
        ignorance=ignorance,
    )
    assert result is not None
    return result


def recorded(
    loss: Loss, rate: float, train: Callable[[nn.Sequential], list[torch.Tensor]] | None = None
) -> tuple[Start, RecordedStep]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 5))
    x, y = torch.randn(16, 8), torch.arange(16) % 5
    parameters = list(model.parameters()) if train is None else train(model)
    recorder = TapeRecorder()
    with recorder:
        value = loss(model, x, y)
    step = RecordedStep((recorder.finish(value),), ({"lr": rate},))
    return Start(torch.optim.SGD(parameters, lr=rate), model.parameters()), step


def test_a_healthy_model_learns_its_batch_with_its_own_optimizer():
    result = learnt(lambda model, x, y: F.cross_entropy(model(x), y))
    assert result.outcome == "fits"
    assert len(result.attempts) == 1
    assert result.attempts[0].excess <= 0.05
    assert result.attempts[0].lowest < 0.05 * math.log(5.0)
    steps, losses = zip(*result.attempts[0].curve, strict=True)
    assert steps[0] == 0 and steps[-1] < result.attempts[0].steps
    assert losses[0] == result.attempts[0].first
    assert min(losses) >= result.attempts[0].lowest


def test_sixteen_samples_are_learnt_down_to_nothing():
    start, step = recorded(lambda model, x, y: F.cross_entropy(model(x), y), 0.5)
    without_dropout = Course(change=Change(dropout=False))
    losses = replay(start, [step] * 1000, without_dropout).losses
    # Cross entropy of separated classes falls like one over the steps: a thousandth of ln 5 here.
    assert losses[-1] < 2e-3
    assert losses[-1] == min(losses)


def test_a_batch_that_is_almost_known_counts_as_learnt_by_what_ignorance_would_lose():
    def head_start(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(model(x) + 6.0 * F.one_hot(y, 5), y)

    # 5 % of a first loss of 0.01 is not to be had in 200 steps at this rate.
    by_first = learnt(head_start, rate=0.01)
    assert by_first.attempts[0].excess > 0.5
    known = learnt(head_start, rate=0.01, ignorance=math.log(5.0))
    assert known.outcome == "fits"
    assert known.attempts[0].first < 0.05 * math.log(5.0)
    assert known.attempts[0].excess == pytest.approx(
        known.attempts[0].lowest / math.log(5.0), rel=1e-9
    )


def test_a_rate_far_too_small_is_the_optimizers_fault():
    result = learnt(lambda model, x, y: F.cross_entropy(model(x), y), rate=1e-6)
    assert result.outcome == "fits with another optimizer"
    assert result.attempts[-1].optimizer == "Adam"


def test_softmax_before_cross_entropy_leaves_its_smallest_loss():
    result = learnt(lambda model, x, y: F.cross_entropy(model(x).softmax(1), y))
    assert result.outcome == "does not fit"
    # Certain and right: ln(e + 4) - 1 = 0.905 of the first ln 5 = 1.609.
    best = min(attempt.lowest for attempt in result.attempts if attempt.lowest is not None)
    assert best == pytest.approx(0.905, abs=0.02)
    # The script's own optimizer, then Adam at the usual rate, at ten times and a tenth of it.
    tried = [(attempt.optimizer, attempt.learning_rate) for attempt in result.attempts]
    assert tried == [("SGD", 0.5), ("Adam", 1e-3), ("Adam", 1e-2), ("Adam", 1e-4)]


def test_outputs_cut_off_from_the_inputs_do_not_fit():
    def cut(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        assert isinstance(model, nn.Sequential)
        return F.cross_entropy(model[3](model[:3](x).detach() * 0.0), y)

    assert learnt(cut).outcome == "does not fit"


def test_detached_and_shuffled_outputs_do_not_fit():
    """What is left to train is a constant: the loss stays that of the label frequencies."""

    def shuffled(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        assert isinstance(model, nn.Sequential)
        others = model(x).detach()[torch.randperm(16)]
        return F.cross_entropy(others + model[3].bias, y)

    result = learnt(shuffled)
    assert result.outcome == "does not fit"
    shares = [4 / 16, 3 / 16, 3 / 16, 3 / 16, 3 / 16]
    entropy = -sum(share * math.log(share) for share in shares)
    assert all(attempt.lowest >= 0.97 * entropy for attempt in result.attempts)


def test_an_output_detached_as_a_whole_does_not_fit():
    result = learnt(lambda model, x, y: F.cross_entropy(model(x).detach(), y))
    assert result.outcome == "does not fit"
    assert all(attempt.lowest == attempt.first for attempt in result.attempts)


def test_a_diverging_attempt_counts_as_a_failed_one():
    result = learnt(lambda model, x, y: F.cross_entropy(model(x), y), rate=1e38)
    assert not result.attempts[0].finite
    assert result.outcome == "fits with another optimizer"


def test_without_time_nothing_is_said():
    torch.manual_seed(0)
    model = nn.Linear(4, 2)
    recorder = TapeRecorder()
    with recorder:
        value = F.cross_entropy(model(torch.randn(4, 4)), torch.tensor([0, 1, 0, 1]))
    step = RecordedStep((recorder.finish(value),), ({"lr": 0.1},))
    start = Start(torch.optim.SGD(model.parameters(), lr=0.1))
    past = time.monotonic() - 1.0
    assert (
        overfit_one_batch(start, step, floor=0.0, deadline=past, learning_rate=0.1, name="SGD")
        is None
    )


Forward = Callable[[nn.Module, torch.Tensor], torch.Tensor]


def controlled(
    forward: Forward,
    targets: torch.Tensor,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = F.cross_entropy,
    *,
    zeroed: bool = True,
    x: torch.Tensor | None = None,
) -> OverfitOneBatch:
    """Overfit 16 samples and repeat it with the inputs at zero."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 5))
    x = torch.randn(16, 8) if x is None else x
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    recorder = TapeRecorder()
    with recorder:
        value = loss(forward(model, x), targets)
    number = recorder.value_of(x)
    step = RecordedStep((recorder.finish(value),), ({"lr": 0.02},))
    assert number is not None
    result = overfit_one_batch(
        Start(optimizer, model.parameters()),
        step,
        floor=0.0,
        deadline=math.inf,
        learning_rate=0.02,
        name="Adam",
        inputs=(number,) if zeroed else (),
    )
    assert result is not None
    return result


LABELS = torch.arange(16) % 5


def test_with_inputs_at_zero_the_loss_is_the_entropy_of_the_labels():
    result = controlled(lambda model, x: model(x), LABELS)
    shares = [4 / 16, 3 / 16, 3 / 16, 3 / 16, 3 / 16]
    entropy = -sum(share * math.log(share) for share in shares)
    assert result.outcome == "fits"
    # Counted shares against the same sum in another order.
    assert result.constant == pytest.approx(entropy, rel=1e-9)
    # Two hundred steps of Adam come within a hundredth of the smallest loss, from above.
    assert result.constant - 1e-4 <= result.without_inputs <= 1.01 * result.constant


def test_with_inputs_at_zero_the_squared_error_is_the_variance():
    values = torch.randn(16, 5, generator=torch.Generator().manual_seed(1))
    result = controlled(lambda model, x: model(x), values, F.mse_loss)
    assert result.outcome == "fits"
    assert result.constant == pytest.approx(float(values.var(0, unbiased=False).mean()), rel=1e-6)
    assert result.constant - 1e-4 <= result.without_inputs <= 1.01 * result.constant


def test_labels_that_reach_the_model_another_way_show():
    hints = F.one_hot(LABELS, 8).float()
    result = controlled(lambda model, x: model(x + hints), LABELS)
    assert result.outcome == "fits"
    assert result.without_inputs < 0.2 * result.constant


def test_without_known_inputs_or_a_learnt_batch_there_is_no_control():
    unknown = controlled(lambda model, x: model(x), LABELS, zeroed=False)
    assert (unknown.without_inputs, unknown.constant) == (None, None)
    unlearnt = controlled(lambda model, x: model(x).softmax(1), LABELS)
    assert unlearnt.outcome == "does not fit"
    assert unlearnt.without_inputs is None


def test_equal_inputs_with_different_labels_leave_the_entropy_of_these():
    """Eight of sixteen samples are four pairs of twins with two labels: ln 2 for each of them."""
    alike = torch.cat([torch.arange(8) // 2, torch.arange(8, 16)])
    x = torch.randn(16, 8, generator=torch.Generator().manual_seed(2))[alike]
    result = controlled(lambda model, x: model(x), LABELS, x=x)
    assert result.floor == pytest.approx(0.5 * math.log(2.0), rel=1e-9)
    assert result.outcome == "fits"
    lowest = min(attempt.lowest for attempt in result.attempts)
    assert result.floor - 1e-4 <= lowest <= result.floor + 0.05 * math.log(5.0)


def test_nothing_is_said_of_a_batch_of_equal_inputs_already_learnt():
    def answer(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return 0.0 * model(x)

    with pytest.raises(TapeUnavailable, match="equal inputs have different targets"):
        controlled(answer, torch.arange(15) % 5, x=torch.ones(15, 8))


def test_a_head_that_starts_at_zero_and_is_not_trained_does_not_fit():
    def frozen(model: nn.Sequential) -> list[torch.Tensor]:
        nn.init.zeros_(model[3].weight)
        nn.init.zeros_(model[3].bias)
        model[3].requires_grad_(False)
        return list(model[0].parameters())

    result = learnt(lambda model, x, y: F.cross_entropy(model(x), y), train=frozen)
    assert result.outcome == "does not fit"
    # No gradient passes such a head: the loss stays that of five classes, equally likely.
    assert all(a.lowest == pytest.approx(math.log(5.0), rel=1e-6) for a in result.attempts)


def test_a_frozen_head_that_passes_gradients_is_no_fault():
    """Random weights the features below can learn around, if slowly."""

    def frozen(model: nn.Sequential) -> list[torch.Tensor]:
        model[3].requires_grad_(False)
        return list(model[0].parameters())

    result = learnt(lambda model, x, y: F.cross_entropy(model(x), y), train=frozen)
    assert result.outcome != "does not fit"
    assert min(attempt.excess for attempt in result.attempts) < 0.2


def test_a_loss_with_another_term_has_no_best_constant():
    def penalised(output: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(output, labels) + 0.01 * output.square().mean()

    assert controlled(lambda model, x: model(x), LABELS, penalised).constant is None
