"""Which operator gives the Hessian of a loss: the best of those that work on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from convlint.gpu_probes.curvature.differences import DifferencedHessian, why_no_hessian
from convlint.gpu_probes.curvature.operator import (
    CurvatureUnavailable,
    HessianOperator,
    RetainedGraphHessian,
    preserved_random_state,
)
from convlint.gpu_probes.tape.substitutions import without_cudnn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


DIFFERENTIABLE_KERNELS = "with differentiable kernels"
SINGLE_PRECISION = "in single precision"


def usable_hessian(
    loss: torch.Tensor,
    parameters: Sequence[torch.Tensor],
    loss_scale: float,
    closure: Callable[[], torch.Tensor] | None,
    differentiable: Callable[[], torch.Tensor] | None,
    buffers: Sequence[torch.Tensor],
    rerun: str = DIFFERENTIABLE_KERNELS,
) -> HessianOperator:
    """The first operator that gives a finite product, in order of preference.

    ``rerun`` says what ``differentiable`` evaluates the loss with.
    """
    try:
        return _tried(RetainedGraphHessian(loss, parameters, loss_scale=loss_scale))
    except CurvatureUnavailable as first_failure:
        if (
            closure is None
            or differentiable is None
            or not bool(torch.isfinite(loss.detach()).all())
        ):
            raise
        # The text alone: the exception holds this frame, and with it a graph and its memory.
        reason = first_failure.reason
    try:
        evaluated = _evaluate_differentiably(differentiable, buffers)
        return _tried(
            RetainedGraphHessian(
                evaluated,
                parameters,
                loss_scale=loss_scale,
                method=f"double backward on a re-run {rerun}",
            )
        )
    except CurvatureUnavailable as failure:
        again = failure.reason
    try:
        differences = DifferencedHessian(
            closure, parameters, buffers=buffers, loss_scale=loss_scale
        )
        tried = _tried(differences)
        if reason_against := why_no_hessian(differences):
            raise CurvatureUnavailable(reason_against)
        return tried
    except CurvatureUnavailable as last_failure:
        message = reason
        if again != reason:
            message += f"; on a re-run {rerun}: {again}"
        message += f"; finite differences: {last_failure.reason}"
        raise CurvatureUnavailable(message) from last_failure


def _tried(hessian: HessianOperator) -> HessianOperator:
    """``hessian`` after one product, which shows what differentiating a graph only hints at."""
    product = hessian(hessian.gradient)
    if not bool(torch.isfinite(product).all()):
        raise CurvatureUnavailable("Hessian-vector products are not finite")
    return hessian


def _evaluate_differentiably(
    closure: Callable[[], torch.Tensor], buffers: Sequence[torch.Tensor]
) -> torch.Tensor:
    """The loss once more, with kernels that have second derivatives.

    Fused attention and cuDNN's recurrent kernels compute the same function without one; only this
    re-run leaves them out, the script's own numerics are not touched.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel

    kept = [buffer.detach().clone() for buffer in buffers]
    try:
        with (
            preserved_random_state(),
            torch.enable_grad(),
            sdpa_kernel(SDPBackend.MATH),
            without_cudnn(),
        ):
            return closure()
    # The closure is the script's own model and loss, which may raise anything.
    except Exception as error:
        raise CurvatureUnavailable(f"evaluating the loss again failed: {error}") from error
    finally:
        for buffer, value in zip(buffers, kept, strict=True):
            buffer.data.copy_(value)
