"""The operation that makes NaN of finite numbers, forward and backward."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from convlint.gpu_probes.quantities.non_finite_origin import (
    DERIVATIVE,
    DOMAIN_ERROR,
    GIVEN,
    OVERFLOW,
    backward_origin,
    forward_origin,
)
from convlint.gpu_probes.tape import Tape, TapeRecorder


def tape_of(compute: Callable[[torch.Tensor], torch.Tensor], weight: torch.Tensor) -> Tape:
    parameter = torch.nn.Parameter(weight)
    recorder = TapeRecorder()
    with recorder:
        loss = compute(parameter)
    return recorder.finish(loss)


ZERO, ONES = torch.zeros(4), torch.ones(4)
MASK = torch.tensor([False, True, False, False])


@pytest.mark.parametrize(
    ("compute", "weight", "operation", "cause"),
    [
        (lambda w: torch.log(w - 1).sum(), ONES, "log", DOMAIN_ERROR),
        (lambda w: torch.sqrt(w - 2).mean(), ONES, "sqrt", DOMAIN_ERROR),
        (lambda w: (w / w.norm()).sum(), ZERO, "div", DOMAIN_ERROR),
        (lambda w: torch.exp(1000 * w).sum(), ONES, "exp", DOMAIN_ERROR),
        (lambda w: torch.exp(100 * w).sum(), ONES, "exp", OVERFLOW),
        (lambda w: (torch.exp(100 * w) - torch.exp(99 * w)).mean(), ONES, "exp", OVERFLOW),
        (lambda w: (0 * torch.log(w)).sum(), ZERO, "log", DOMAIN_ERROR),
        (
            lambda w: F.log_softmax(w.masked_fill(w > 0, float("-inf")), dim=0).sum(),
            ONES,
            "_log_softmax",
            DOMAIN_ERROR,
        ),
        (
            lambda w: (w.half() @ w.half()).float().sum(),
            torch.full((300, 300), 300.0),
            "mm",
            OVERFLOW,
        ),
    ],
)
def test_the_first_operation_that_leaves_the_finite_numbers(
    compute: Callable[[torch.Tensor], torch.Tensor],
    weight: torch.Tensor,
    operation: str,
    cause: str,
) -> None:
    origin = forward_origin(tape_of(compute, weight))
    assert origin is not None
    assert origin.operation is not None
    assert (origin.operation.name, origin.cause) == (f"aten::{operation}", cause)
    assert not origin.backward


def test_a_mask_of_minus_infinity_is_no_origin() -> None:
    def attention(w: torch.Tensor) -> torch.Tensor:
        weights = torch.softmax((w * 2).masked_fill(MASK, float("-inf")), dim=0)
        return torch.log(weights.sum() - 2)

    origin = forward_origin(tape_of(attention, ONES))
    assert origin is not None
    assert origin.operation is not None
    assert origin.operation.name == "aten::log"


def test_a_finite_loss_has_no_origin() -> None:
    def masked(w: torch.Tensor) -> torch.Tensor:
        return torch.softmax(w.masked_fill(MASK, float("-inf")), dim=0)[0]

    assert forward_origin(tape_of(masked, ONES)) is None
    assert backward_origin(tape_of(masked, ONES)) is None


def test_a_batch_that_is_not_finite_is_told_as_such() -> None:
    batch = torch.tensor([1.0, float("nan"), 2.0, 3.0])
    origin = forward_origin(tape_of(lambda w: (w * batch).sum(), ONES))
    assert origin is not None
    assert (origin.operation, origin.cause) == (None, GIVEN)


@pytest.mark.parametrize(
    ("compute", "weight", "operation"),
    [
        (lambda w: torch.sqrt(w.square().sum()), ZERO, "sqrt"),
        (lambda w: torch.where(w > 0, torch.sqrt(w), 0 * w).sum(), ZERO, "sqrt"),
        (lambda w: torch.acos(w.clamp(-1, 1)).sum(), ONES, "acos"),
        (lambda w: w.abs().pow(0.5).sum(), ZERO, "pow"),
    ],
)
def test_the_derivative_that_leaves_the_finite_numbers(
    compute: Callable[[torch.Tensor], torch.Tensor], weight: torch.Tensor, operation: str
) -> None:
    tape = tape_of(compute, weight)
    assert forward_origin(tape) is None
    origin = backward_origin(tape)
    assert origin is not None
    assert origin.operation is not None
    assert (origin.operation.name, origin.cause) == (f"aten::{operation}", DERIVATIVE)
    assert origin.backward


def test_seeking_leaves_gradients_and_parameters_alone() -> None:
    parameter = torch.nn.Parameter(ONES.clone())
    with TapeRecorder() as recorder:
        loss = torch.log(parameter - 1).sum()
    forward_origin(recorder.finish(loss))
    assert parameter.grad is None
    assert torch.equal(parameter, ONES)
