"""A rewritten step computes what the corrected script would have computed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convlint.gpu_probes.horizon import rewritten_steps
from convlint.gpu_probes.tape import Tape, TapeRecorder

LABELS = torch.arange(16) % 5
BATCH = torch.linspace(-1.0, 2.0, 16 * 8).reshape(16, 8).sin()


def stack(activation: type[nn.Module], *, normalised: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(3):
        layers.append(nn.Linear(8, 8))
        if normalised:
            layers.append(nn.BatchNorm1d(8, affine=False))
        layers.append(activation())
    return nn.Sequential(*layers, nn.Linear(8, 5))


def taped(compute: Callable[[], torch.Tensor]) -> Tape:
    recorder = TapeRecorder()
    with recorder:
        loss = compute()
    return recorder.finish(loss)


def gradients(model: nn.Module, loss: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    return torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)


def same(tape: Tape, model: nn.Module, loss: torch.Tensor) -> None:
    """The tape has this loss and these gradients."""
    found, of_tape = tape.gradients()
    # The same operations in the same order: float32 rounding at most.
    torch.testing.assert_close(found, loss.detach())
    by_parameter = {id(p): g for p, g in zip(tape.parameters, of_tape, strict=True)}
    for parameter, gradient in zip(model.parameters(), gradients(model, loss), strict=True):
        if gradient is not None:
            torch.testing.assert_close(by_parameter[id(parameter)], gradient)


Case = tuple[
    Callable[[Tape], object],
    Callable[[nn.Module], torch.Tensor],
    Callable[[nn.Module], torch.Tensor],
]

CASES: dict[str, Case] = {
    "softmax": (
        rewritten_steps.without_output_softmax,
        lambda m: F.cross_entropy(m(BATCH).softmax(1), LABELS),
        lambda m: F.cross_entropy(m(BATCH), LABELS),
    ),
    "sigmoid": (
        rewritten_steps.without_output_sigmoid,
        lambda m: F.binary_cross_entropy_with_logits(m(BATCH).sigmoid()[:, 0], LABELS / 4.0),
        lambda m: F.binary_cross_entropy_with_logits(m(BATCH)[:, 0], LABELS / 4.0),
    ),
    "probabilities": (
        rewritten_steps.log_probabilities,
        lambda m: F.nll_loss(m(BATCH).softmax(1), LABELS),
        lambda m: F.cross_entropy(m(BATCH), LABELS),
    ),
    "scores": (
        rewritten_steps.log_probabilities,
        lambda m: F.nll_loss(m(BATCH), LABELS),
        lambda m: F.cross_entropy(m(BATCH), LABELS),
    ),
    "detached": (
        rewritten_steps.attached,
        lambda m: F.cross_entropy(m[3:](m[:3](BATCH).detach()), LABELS),
        lambda m: F.cross_entropy(m(BATCH), LABELS),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_rewritten_step_is_the_corrected_one(name):
    rewriting, wrong, right = CASES[name]
    model = stack(nn.Tanh)
    tape = taped(lambda: wrong(model))
    rewrite = rewriting(tape)
    assert rewrite is not None
    same(rewrite(tape), model, right(model))


@pytest.mark.parametrize("name", CASES)
def test_a_sound_step_is_left_alone(name):
    rewriting, _, right = CASES[name]
    model = stack(nn.Tanh)
    assert rewriting(taped(lambda: right(model))) is None


@pytest.mark.filterwarnings("ignore:Using a target size")
def test_prediction_and_target_are_compared_one_by_one():
    model = stack(nn.Tanh)
    target = LABELS.float()
    tape = taped(lambda: F.mse_loss(model(BATCH)[:, :1], target))
    rewrite = rewritten_steps.matching_shapes(tape)
    assert rewrite is not None
    same(rewrite(tape), model, F.mse_loss(model(BATCH)[:, 0], target))


def test_a_squashing_stack_becomes_a_rectified_one():
    model = stack(nn.Sigmoid)
    tape = taped(lambda: F.cross_entropy(model(BATCH), LABELS))
    rewrite = rewritten_steps.rectified(tape)
    assert rewrite is not None
    rectified = stack(nn.ReLU)
    rectified.load_state_dict(model.state_dict())
    torch.testing.assert_close(
        rewrite(tape).loss(list(model.parameters())).detach(),
        F.cross_entropy(rectified(BATCH), LABELS).detach(),
    )


def test_a_normalised_stack_is_one_with_batch_normalisation():
    model = stack(nn.Sigmoid)
    tape = taped(lambda: F.cross_entropy(model(BATCH), LABELS))
    rewrite = rewritten_steps.normalised(tape)
    assert rewrite is not None
    normalised = stack(nn.Sigmoid, normalised=True)
    for own, other in zip(normalised.parameters(), model.parameters(), strict=True):
        own.data.copy_(other)
    torch.testing.assert_close(
        rewrite(tape).loss().detach(), F.cross_entropy(normalised(BATCH), LABELS).detach()
    )


def test_a_normalised_stack_is_not_normalised_again():
    model = stack(nn.Sigmoid, normalised=True)
    assert rewritten_steps.normalised(taped(lambda: model(BATCH).square().mean())) is None


def test_gates_of_a_recurrent_cell_are_no_stack():
    torch.manual_seed(0)
    cell = nn.LSTMCell(8, 8)

    def unrolled() -> torch.Tensor:
        state = torch.zeros(16, 8), torch.zeros(16, 8)
        for _ in range(4):
            state = cell(BATCH, state)
        return state[0].square().mean()

    tape = taped(unrolled)
    assert rewritten_steps.rectified(tape) is None
    assert rewritten_steps.normalised(tape) is None


def test_batch_normalisation_uses_the_batch_again():
    model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8)).eval()
    tape = taped(lambda: model(BATCH).square().mean())
    rewrite = rewritten_steps.in_training_mode(tape)
    assert rewrite is not None
    again = rewrite(tape)
    running = model[1].running_mean.clone()
    same(again, model, model.train()(BATCH).square().mean())
    assert rewritten_steps.in_training_mode(taped(lambda: model(BATCH).square().mean())) is None
    # The replay left the script's own statistics alone; the line above did not.
    assert not torch.equal(model[1].running_mean, running)


def test_inputs_are_standardised_over_all_batches():
    model = nn.Linear(8, 5)
    raw = [BATCH * torch.logspace(0, 3, 8) + 50.0 * k for k in range(3)]
    recorders = []
    for batch in raw:
        recorder = TapeRecorder()
        with recorder:
            loss = F.cross_entropy(model(batch), LABELS)
        recorders.append((recorder.finish(loss), recorder.value_of(batch)))
    tapes, number = [tape for tape, _ in recorders], recorders[0][1]
    assert number is not None
    rewrite = rewritten_steps.standardised(tapes, [number], 3.0, 3.0)
    assert rewrite is not None
    every = torch.cat(raw)
    standard = (raw[1] - every.mean(0)) / every.std(0)
    same(rewrite(tapes[1]), model, F.cross_entropy(model(standard), LABELS))


def test_inputs_in_order_are_left_alone():
    model = nn.Linear(8, 5)
    batch = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    recorder = TapeRecorder()
    with recorder:
        loss = model(batch).square().mean()
    number = recorder.value_of(batch)
    assert number is not None
    assert rewritten_steps.standardised([recorder.finish(loss)], [number], 3.0, 3.0) is None
