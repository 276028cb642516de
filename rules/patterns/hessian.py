"""Which curvature measurements may be judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convlint.gpu_probes.observations import Curvature, Observations

__all__ = ["is_trusted", "trusted_curvature"]

CONSISTENCY = 1e-2
"""Hessian-vector products that differ by more from a finite difference belong to a gradient that
is not the derivative of the loss (straight-through, detached targets)."""


def trusted_curvature(seen: Observations) -> tuple[Curvature, ...]:
    """The curvature measurements whose Hessian agreed with finite differences, or was exact."""
    return tuple(curvature for curvature in seen.curvature if is_trusted(curvature))


def is_trusted(curvature: Curvature) -> bool:
    """Whether nothing says that this Hessian is not that of the loss."""
    return curvature.consistency is None or curvature.consistency <= CONSISTENCY
