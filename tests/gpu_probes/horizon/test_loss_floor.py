"""When zero is known to be the least a recorded loss can be."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from convlint.gpu_probes.horizon.loss_floor import ignorant_loss, scaled_floor
from convlint.gpu_probes.observations import LossFunction
from convlint.gpu_probes.quantities.initial_loss import LossRecorder
from convlint.gpu_probes.tape import Tape, TapeRecorder

X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])
HARD = torch.tensor([[0.0], [1.0], [1.0], [0.0], [1.0], [0.0]])
SOFT = torch.full((6, 1), 0.3)
COUNT = torch.tensor(12.0)
Compute = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def recorded(
    function: str, target: torch.Tensor, compute: Compute, **arguments: object
) -> tuple[LossFunction, Tape]:
    weight = nn.Parameter(torch.ones(4, 3 if target.dim() == 1 else 1))
    recorder = TapeRecorder()
    with recorder:
        loss = compute(X @ weight, target)
    given = LossRecorder()
    given.observe(function, X @ weight, target, arguments, None, loss)
    (seen,) = given.results()
    return seen, recorder.finish(loss)


@pytest.mark.parametrize(
    ("function", "target", "compute"),
    [
        ("cross_entropy", LABELS, lambda s, y: F.cross_entropy(s, y, reduction="sum") / COUNT / 2),
        ("cross_entropy", LABELS, lambda s, y: F.cross_entropy(s, y, reduction="none").mean()),
        ("cross_entropy", LABELS, lambda s, y: 3.0 * F.cross_entropy(s, y)),
        ("mse_loss", HARD, lambda s, y: F.mse_loss(s, y, reduction="sum") / len(y)),
        ("binary_cross_entropy_with_logits", HARD, F.binary_cross_entropy_with_logits),
    ],
    ids=["normalised", "elements", "scaled", "squares", "hard labels"],
)
def test_a_scaled_loss_can_be_zero(function: str, target: torch.Tensor, compute: Compute) -> None:
    loss, tape = recorded(function, target, compute)
    assert scaled_floor(loss, [tape]) == 0.0


@pytest.mark.parametrize(
    ("function", "target", "compute"),
    [
        ("cross_entropy", LABELS, lambda s, y: F.cross_entropy(s, y) + 0.1 * s.square().mean()),
        ("cross_entropy", LABELS, lambda s, y: F.cross_entropy(s, y) * s.abs().mean()),
        ("cross_entropy", LABELS, lambda s, y: -1.0 * F.cross_entropy(s, y)),
        ("cross_entropy", LABELS, lambda s, y: F.cross_entropy(s, y) + F.cross_entropy(-s, y)),
        ("cross_entropy", LABELS, lambda s, y: torch.exp(F.cross_entropy(s, y))),
        ("binary_cross_entropy_with_logits", SOFT, F.binary_cross_entropy_with_logits),
    ],
    ids=["penalty", "learnt factor", "negative", "two", "exponential", "soft labels"],
)
def test_anything_else_has_a_floor_that_is_not_known(
    function: str, target: torch.Tensor, compute: Compute
) -> None:
    loss, tape = recorded(function, target, compute)
    assert scaled_floor(loss, [tape]) is None


def test_smoothed_labels_have_an_entropy() -> None:
    loss, tape = recorded(
        "cross_entropy",
        LABELS,
        lambda s, y: F.cross_entropy(s, y, label_smoothing=0.1),
        label_smoothing=0.1,
    )
    assert scaled_floor(loss, [tape]) is None


def test_a_model_that_knows_nothing_loses_the_logarithm_of_the_classes() -> None:
    loss, _ = recorded("cross_entropy", LABELS, F.cross_entropy)
    assert ignorant_loss(loss, 1.0) == pytest.approx(math.log(3.0), rel=1e-12)
    # One of four micro-batches carries a quarter of the loss.
    assert ignorant_loss(loss, 4.0) == pytest.approx(math.log(3.0) / 4.0, rel=1e-12)
    squares, _ = recorded("mse_loss", HARD, F.mse_loss)
    assert ignorant_loss(squares, 1.0) == 0.0
