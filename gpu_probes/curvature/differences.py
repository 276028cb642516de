"""The loss and its gradient away from the present parameters, and the Hessian by differences.

For graphs without second derivatives, for the check of those that have them, and for everything
that asks what the loss is elsewhere. Nothing here writes ``.grad``, draws a random number of the
script's, or leaves a parameter or buffer changed by a single bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch

from convlint.gpu_probes.curvature.operator import (
    CurvatureUnavailable,
    HessianOperator,
    blocks,
    flat,
    preserved_random_state,
    require_usable,
    restored,
    trainable,
    unavailable_on_failure,
    vector_type,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FLOAT64_STEP = 1e-6
FLOAT32_STEP = 3e-4
"""Step of the central difference in units of the parameter norm: near the optimum of truncation
error (step squared) against rounding error (machine epsilon over step)."""

KINK_AGREEMENT = 0.05
"""Differences with steps that differ by a factor of four must agree to this, else the loss has
kinks (ReLU, max-pooling) at the scale of the step and the difference says nothing."""

ASYMMETRY = 1e-2
"""Largest share of a product by which differences may miss being symmetric. Those of a gradient are
symmetric up to rounding, 1e-3 in float32; those of what is the gradient of nothing are not."""


class DifferencedHessian:
    """H v by central differences of the gradient of a loss that can be evaluated again.

    ``closure`` returns the scalar loss on the same batch, with the same random draws, at whatever
    the parameters hold when it is called; ``buffers`` (running statistics ...) are put back after
    every evaluation. The random state is as before after every evaluation.
    """

    def __init__(
        self,
        closure: Callable[[], torch.Tensor],
        parameters: Sequence[torch.Tensor],
        *,
        buffers: Sequence[torch.Tensor] = (),
        loss_scale: float = 1.0,
    ) -> None:
        self._closure = closure
        self._buffers = tuple(buffers)
        self._loss_scale = loss_scale
        self.method = "finite differences of gradients"
        self.products = 0
        self.parameters = tuple(trainable(parameters))
        loss, gradients = self._loss_and_gradients()
        self.loss = loss / loss_scale
        reached = [(p, g) for p, g in zip(self.parameters, gradients, strict=True) if g is not None]
        if not reached:
            raise CurvatureUnavailable("the loss reaches no trainable parameter")
        self.parameters = tuple(p for p, _ in reached)
        if any(p.dtype in (torch.float16, torch.bfloat16) for p in self.parameters):
            raise CurvatureUnavailable(
                "differences of half-precision gradients are mostly rounding error"
            )
        self._dtype, self._device = vector_type(self.parameters)
        self.gradient = self._flatten([g for _, g in reached])
        if not bool(torch.isfinite(self.gradient).all()):
            raise CurvatureUnavailable("the gradient is not finite")
        squares = sum(float(p.detach().double().square().sum()) for p in self.parameters)
        # Zero parameters have no scale of their own; the step is then in absolute units.
        self._parameter_norm = squares**0.5 or 1.0

    @property
    def dimension(self) -> int:
        """Number of elements of the reached parameters."""
        return self.gradient.numel()

    def __call__(self, vector: torch.Tensor) -> torch.Tensor:
        """Two gradients, at the parameters plus and minus a small step along ``vector``."""
        self.products += 1
        return self.difference(vector)

    def difference(self, vector: torch.Tensor, shrink: float = 1.0) -> torch.Tensor:
        """H @ vector with the default step times ``shrink``."""
        length = float(vector.double().norm())
        if length == 0.0:
            return torch.zeros_like(vector)
        relative = FLOAT64_STEP if self._dtype == torch.float64 else FLOAT32_STEP
        step = shrink * relative * self._parameter_norm / length
        ahead = self._gradient_at(vector, step)
        behind = self._gradient_at(vector, -step)
        return (ahead - behind) / (2.0 * step)

    def descent(self, rate: float, steps: int) -> list[float]:
        """Losses after 1 … ``steps`` plain gradient steps at ``rate``; the parameters come back."""
        losses = []
        with restored(self.parameters):
            for taken in range(steps + 1):
                loss, gradients = self._loss_and_gradients()
                if taken:
                    losses.append(loss / self._loss_scale)
                if taken < steps:
                    self._move(self._flatten(gradients), -rate)
        return losses

    def loss_along(self, direction: torch.Tensor, other: torch.Tensor, a: float, b: float) -> float:
        """The loss at θ + a·direction + b·other."""
        with restored(self.parameters):
            self._move(direction, a)
            self._move(other, b)
            with restored(self._buffers), preserved_random_state(), unavailable_on_failure():
                return float(self._closure().detach()) / self._loss_scale

    def _move(self, vector: torch.Tensor, step: float) -> None:
        for parameter, block in zip(self.parameters, blocks(vector, self.parameters), strict=True):
            # `.data` has its own version counter: the script's graph, which saved these
            # parameters, does not take the excursion for an in-place change.
            parameter.data.add_(block.to(parameter), alpha=step)

    def _gradient_at(self, vector: torch.Tensor, step: float) -> torch.Tensor:
        with restored(self.parameters):
            self._move(vector, step)
            return self._flatten(self._gradients())

    def _gradients(self) -> tuple[torch.Tensor | None, ...]:
        return self._loss_and_gradients()[1]

    def _loss_and_gradients(self) -> tuple[float, tuple[torch.Tensor | None, ...]]:
        with restored(self._buffers), preserved_random_state(), torch.enable_grad():
            with unavailable_on_failure():
                loss = self._closure()
            require_usable(loss)
            with unavailable_on_failure():
                gradients: tuple[torch.Tensor | None, ...] = torch.autograd.grad(
                    loss, self.parameters, allow_unused=True
                )
        return float(loss.detach()), gradients

    def _flatten(self, tensors: Sequence[torch.Tensor | None]) -> torch.Tensor:
        return flat(tensors, self.parameters, self._dtype, self._device) / self._loss_scale


class Differences(Protocol):
    """H v by differences of gradients."""

    parameters: tuple[torch.Tensor, ...]

    def difference(self, vector: torch.Tensor, shrink: float = 1.0) -> torch.Tensor:
        """H @ vector with the default step times ``shrink``."""
        ...


def difference_from_finite_differences(
    hessian: HessianOperator, differences: Differences
) -> float | None:
    """‖Hv − FD‖ / ‖FD‖ along the gradient, at the better of two steps; None when kinks decide.

    The Hessian of autograd and the derivative of autograd's gradient agree unless the gradient
    is not the gradient of anything: a custom Function, a straight-through estimator, a
    ``detach()`` inside the loss. The gradient is the direction with the strongest signal.
    """
    if [id(p) for p in hessian.parameters] != [id(p) for p in differences.parameters]:
        return None
    length = hessian.gradient.double().norm()
    if float(length) == 0.0:
        return None
    direction = (hessian.gradient.double() / length).to(hessian.gradient.dtype)
    product = hessian(direction).double()
    pair = _at_two_steps(differences, direction)
    if pair is None:
        return None
    return min(float((product - d).norm()) / float(d.norm()) for d in pair)


def why_no_hessian(differences: DifferencedHessian) -> str:
    """Why differences of this gradient are not to be taken for a Hessian; empty when they are.

    They have no autograd to be compared with. But they must agree at two steps, and the derivative
    of a gradient is symmetric: with v along the gradient and u along J v, uᵀ J v = vᵀ J u.
    """
    length = float(differences.gradient.double().norm())
    if length == 0.0:
        return ""
    direction = differences.gradient / length
    pair = _at_two_steps(differences, direction)
    if pair is None:
        return "the loss has kinks at the scale of their step"
    size = float(pair[0].norm())
    onwards = (pair[0] / size).to(direction.dtype)
    back = float(direction.double() @ differences.difference(onwards).double())
    if abs(back - size) > ASYMMETRY * size:
        return "the gradient is not the derivative of any loss (straight-through, detached targets)"
    return ""


def _at_two_steps(
    differences: Differences, direction: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Both products in float64; None when they are zero or kinks decide."""
    coarse = differences.difference(direction).double()
    fine = differences.difference(direction, shrink=0.25).double()
    size = float(fine.norm())
    if size == 0.0 or float((coarse - fine).norm()) > KINK_AGREEMENT * size:
        return None
    return coarse, fine
