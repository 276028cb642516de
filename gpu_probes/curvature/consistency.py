"""Whether autograd's Hessian is that of the loss, held against a float64 evaluation elsewhere.

Differences in float32 take steps so long that a network of ReLU crosses kinks on them, and a step
with a backward of its own has no gradient to be evaluated elsewhere. A recorded step can be replayed
in float64, where steps are short and the loss alone tells as much.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from convlint.gpu_probes.curvature.differences import FLOAT64_STEP

if TYPE_CHECKING:
    from collections.abc import Callable

    from convlint.gpu_probes.curvature.operator import HessianOperator

LOSS_STEP = 1e-5
"""Step of differences of a float64 loss in units of the parameter norm: first ones are then good to
1e-9, second ones, whose rounding error grows by the square, to 1e-6, and hardly a kink lies on so
short a way."""

SHORTER = (1.0, 0.5, 0.25)
"""Shares of the step that are tried."""

SMOOTH = 5e-3
"""Second differences at all of them must agree to this, or kinks decide. Two values that kinks have
made agree to 5 % by chance often enough."""

DIRECTIONS = 3
"""Random directions: the gradient lies where the loss is steep, and what a backward that saved
detached values leaves out may lie elsewhere."""


class DoubleDifferences:
    """H v by central differences of float64 gradients, whatever the parameters are held in.

    ``gradient_at`` gives the flat float64 gradient at the parameters of ``hessian`` plus a flat
    float64 vector.
    """

    def __init__(
        self, hessian: HessianOperator, gradient_at: Callable[[torch.Tensor], torch.Tensor]
    ) -> None:
        self.parameters = hessian.parameters
        self._gradient_at = gradient_at
        self._norm = _norm(hessian)

    def difference(self, vector: torch.Tensor, shrink: float = 1.0) -> torch.Tensor:
        """H @ vector with the default step times ``shrink``, in float64."""
        direction = vector.double()
        step = shrink * FLOAT64_STEP * self._norm / float(direction.norm())
        ahead = self._gradient_at(step * direction)
        return (ahead - self._gradient_at(-step * direction)) / (2.0 * step)


def difference_from_losses(
    hessian: HessianOperator, loss_at: Callable[[torch.Tensor], float], seed: int = 0
) -> float | None:
    """How far gradient and Hessian are from differences of the loss itself.

    For a step with a backward of its own, whose gradient cannot be evaluated elsewhere.
    ``loss_at`` gives the float64 loss at the parameters plus a flat vector. The largest of
    |vᵀg − D| / |D| along the gradient, which a straight-through estimator fails, and of
    |vᵀHv − D₂| / max(|D₂|, ‖Hv‖) along it and |vᵀHv − D₂| / |D₂| over random directions, which a
    backward that saved detached values fails. Second differences that kinks decide are left out.
    None for a zero gradient, or a loss that is not finite there.
    """
    gradient = hessian.gradient.double()
    length = float(gradient.norm())
    if length == 0.0:
        return None
    step = LOSS_STEP * _norm(hessian)
    here = loss_at(torch.zeros_like(gradient))

    def differences(direction: torch.Tensor) -> tuple[list[float], list[float]]:
        first, second = [], []
        for h in (share * step for share in SHORTER):
            ahead, behind = loss_at(h * direction), loss_at(-h * direction)
            first.append((ahead - behind) / (2.0 * h))
            second.append((ahead - 2.0 * here + behind) / h**2)
        smooth = max(second) - min(second) <= SMOOTH * abs(second[-1])
        return first, second if smooth else []

    slopes, bends = differences(gradient / length)
    if not all(map(math.isfinite, slopes)):
        return None
    found = [min(abs(length - d) / abs(d) if d else math.inf for d in slopes)]
    if bends:
        along, size = _bend(hessian, gradient / length)
        found.append(min(abs(along - d) / (max(abs(d), size) or 1.0) for d in bends))
    generator = torch.Generator(device=gradient.device).manual_seed(seed)
    missing = total = 0.0
    for _ in range(DIRECTIONS):
        direction = torch.randn(
            gradient.shape, generator=generator, dtype=gradient.dtype, device=gradient.device
        )
        direction /= direction.norm()
        _, bends = differences(direction)
        if bends:
            along, _ = _bend(hessian, direction)
            missing += min((along - d) ** 2 for d in bends)
            total += bends[-1] ** 2
    if total > 0.0:
        found.append((missing / total) ** 0.5)
    return max(found)


def _bend(hessian: HessianOperator, direction: torch.Tensor) -> tuple[float, float]:
    """vᵀHv and ‖Hv‖ of a unit vector."""
    product = hessian(direction.to(hessian.gradient.dtype)).double()
    return float(direction @ product), float(product.norm())


def _norm(hessian: HessianOperator) -> float:
    """Of all parameters; 1 when they are zero and have no scale of their own."""
    squares = sum(float(p.detach().double().square().sum()) for p in hessian.parameters)
    return float(squares**0.5) or 1.0
