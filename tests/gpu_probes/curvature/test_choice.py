"""Which operator is used, and that what was tried in vain is let go of."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

from convlint.gpu_probes.curvature.choice import usable_hessian
from convlint.gpu_probes.curvature.operator import CurvatureUnavailable


class Mark:
    """Lives as long as a graph."""


class DifferentiableOnce(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, made):
        ctx.mark = Mark()
        made.append(weakref.ref(ctx.mark))
        ctx.save_for_backward(x)
        return x.abs() ** 1.5

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 1.5 * gradient * x.abs().sqrt() * x.sign(), None


@pytest.fixture
def without_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("without_collector")
def test_graphs_tried_in_vain_do_not_wait_for_the_collector() -> None:
    """On a full device the script's next step needs their memory."""
    parameter = torch.zeros(64, requires_grad=True)
    made: list[weakref.ref[Mark]] = []

    def evaluate() -> torch.Tensor:
        return DifferentiableOnce.apply(3.0 * parameter, made).sum()

    def fails() -> torch.Tensor:
        evaluate()
        raise RuntimeError("no such kernel")

    with pytest.raises(CurvatureUnavailable) as caught:
        usable_hessian(evaluate(), [parameter], 1.0, fails, fails, (), "by other kernels")
    assert (
        "; on a re-run by other kernels: evaluating the loss again failed: no such kernel"
        in str(caught.value)
    )
    del caught
    assert len(made) == 3
    assert [reference() for reference in made] == [None] * 3
