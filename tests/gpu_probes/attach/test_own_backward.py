"""Curvature of steps with a backward of their own, whose tape has the loss and not its gradient."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import convlint


class Swish(torch.autograd.Function):
    """x σ(x), differentiable twice."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        s = torch.sigmoid(x)
        return gradient * (s + x * s * (1.0 - s))


class SwishOnce(Swish):
    """The same, differentiable once."""

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return Swish.backward(ctx, gradient)


class SquareWithoutSlope(torch.autograd.Function):
    """x² whose backward keeps its slope as a plain value."""

    @staticmethod
    def forward(ctx, x):
        ctx.slope = 2.0 * x.detach()
        return x**2

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.slope


class Quarters(torch.autograd.Function):
    """Rounds, straight through."""

    @staticmethod
    def forward(ctx, x):
        return (4.0 * torch.tanh(x)).round() / 4.0

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class Perceptron(nn.Module):
    """One hidden layer with a custom Function."""

    def __init__(self, function: type[torch.autograd.Function]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(8, 32), nn.Linear(32, 3)
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.function.apply(self.first(x)))


def probed(function: type[torch.autograd.Function]) -> convlint.Observations:
    model = Perceptron(function)
    generator = torch.Generator().manual_seed(1)
    batches = []
    for _ in range(6):
        x = torch.randn(32, 8, generator=generator)
        batches.append((x, x[:, :3].argmax(1)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return convlint.probe(
        model, F.cross_entropy, batches, optimizer, steps=3, hold=2, tier="standard", budget=60
    )


def test_a_sound_function_agrees_with_differences_of_the_loss():
    seen = probed(Swish)
    assert {c.phase for c in seen.curvature} == {"start", "end"}
    for curvature in seen.curvature:
        assert curvature.method == "double backward on the loss"
        assert curvature.parameters == 8 * 32 + 32 + 32 * 3 + 3
        # Rounding of float32 against second differences in float64.
        assert curvature.consistency is not None
        assert curvature.consistency < 1e-4


@pytest.mark.parametrize("function", [SquareWithoutSlope, Quarters])
def test_a_function_whose_hessian_is_not_that_of_the_loss_is_found(function):
    curvatures = probed(function).curvature
    assert curvatures
    assert all(c.consistency is not None and c.consistency > 1e-2 for c in curvatures)


def test_a_function_that_can_be_differentiated_once_has_no_curvature_of_the_rest():
    seen = probed(SwishOnce)
    assert seen.curvature == ()
    reasons = {s.measurement: s.reason for s in seen.skipped}
    assert "no second derivative: SwishOnce" in reasons["curvature at the start"]
