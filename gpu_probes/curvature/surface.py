"""The loss over a plane through the present parameters: two directions, a grid, real evaluations.

The plane is spanned by the negative gradient, the way a plain step goes, and the top eigenvector of
the Hessian, the way it curves most. Where one of the two is missing, a random direction takes its
place, normalised filter by filter (Li et al. 2018, "Visualizing the Loss Landscape of Neural
Nets"): without that a random direction says more about the scale of the weights than of the loss.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import torch

from convlint.gpu_probes.curvature.operator import CurvatureUnavailable
from convlint.gpu_probes.observations import LossSurface

if TYPE_CHECKING:
    from collections.abc import Sequence

    from convlint.gpu_probes.curvature.differences import DifferencedHessian

POINTS = 11
"""Points along either axis; odd, so that the present parameters are one of them."""

FEWEST_ROWS = 3
WIDEST = 0.5
"""Half of the plane's width is at most this share of the parameters' norm."""

UNKNOWN_WIDTH = 0.1
"""Half of the width, as a share of that norm, where no positive curvature gives a scale."""

PARALLEL = 0.05
"""A second direction with less of it left after the first was taken out is no second direction."""


def loss_surface(
    evaluator: DifferencedHessian,
    top: torch.Tensor | None,
    largest: float,
    *,
    deadline: float,
    seed: int = 0,
    points: int = POINTS,
) -> LossSurface | None:
    """The loss on a grid of ``points`` by ``points``, as far as ``deadline`` allows.

    ``top`` is the top eigenvector (flat, of any length), ``largest`` its eigenvalue. The plane
    reaches as far as curvature alone raises the loss by its own size, sqrt(2 |L| / λ), at most half
    the parameters' norm. Rows are evaluated from the middle outwards; None when fewer than three
    were finished.
    """
    norm = math.sqrt(sum(float(p.detach().double().square().sum()) for p in evaluator.parameters))
    x_axis, across = _first_direction(evaluator, seed)
    y_axis, up = _second_direction(evaluator, across, top, seed)
    zero = torch.zeros_like(across)
    here = evaluator.loss_along(zero, zero, 0.0, 0.0)
    half = UNKNOWN_WIDTH * norm if norm > 0.0 else 1.0
    if largest > 0.0 and here != 0.0:
        half = math.sqrt(2.0 * abs(here) / largest)
        half = min(half, WIDEST * norm) if norm > 0.0 else half
    ticks = tuple(half * (2.0 * i / (points - 1) - 1.0) for i in range(points))
    rows: dict[int, tuple[float | None, ...]] = {}
    for row in sorted(range(points), key=lambda j: abs(ticks[j])):
        if time.monotonic() >= deadline:
            break
        try:
            values = [evaluator.loss_along(across, up, x, ticks[row]) for x in ticks]
        except CurvatureUnavailable:
            break
        rows[row] = tuple(value if math.isfinite(value) else None for value in values)
    if len(rows) < FEWEST_ROWS:
        return None
    nothing = (None,) * points
    losses = tuple(rows.get(j, nothing) for j in range(points))
    return LossSurface(x_axis, y_axis, ticks, ticks, losses, norm)


def filter_normalised(
    parameters: Sequence[torch.Tensor], like: torch.Tensor, seed: int
) -> torch.Tensor:
    """A random flat direction in which each filter is as long as that of the parameters.

    A filter is a slice of a tensor along its first dimension; vectors (biases, norms) are left
    where they are, as in the paper.
    """
    generator = torch.Generator(device=like.device).manual_seed(seed)
    pieces = []
    for parameter in parameters:
        piece = torch.zeros(parameter.shape, dtype=like.dtype, device=like.device)
        if parameter.dim() > 1:
            drawn = torch.randn(
                parameter.shape, generator=generator, dtype=like.dtype, device=like.device
            )
            filters = parameter.detach().to(like).flatten(1).norm(dim=1)
            lengths = drawn.flatten(1).norm(dim=1).clamp_min(1e-30)
            shape = (-1,) + (1,) * (parameter.dim() - 1)
            piece = drawn * (filters / lengths).view(shape)
        pieces.append(piece.reshape(-1))
    return torch.cat(pieces)


def _first_direction(evaluator: DifferencedHessian, seed: int) -> tuple[str, torch.Tensor]:
    length = float(evaluator.gradient.double().norm())
    if length > 0.0:
        return "gradient", -evaluator.gradient / length
    return "random", _random(evaluator, seed)


def _second_direction(
    evaluator: DifferencedHessian, first: torch.Tensor, top: torch.Tensor | None, seed: int
) -> tuple[str, torch.Tensor]:
    if top is not None and top.numel() == first.numel():
        unit = top / float(top.double().norm())
        left = unit - first * float(first.double() @ unit.double())
        length = float(left.double().norm())
        if length > PARALLEL:
            return "top eigenvector", left / length
    drawn = _random(evaluator, seed + 1)
    left = drawn - first * float(first.double() @ drawn.double())
    return "random", left / float(left.double().norm())


def _random(evaluator: DifferencedHessian, seed: int) -> torch.Tensor:
    drawn = filter_normalised(evaluator.parameters, evaluator.gradient, seed)
    length = float(drawn.double().norm())
    if length == 0.0:
        # All parameters are vectors, or zero: there is no filter to go by.
        generator = torch.Generator(device=drawn.device).manual_seed(seed)
        drawn = torch.randn(
            drawn.shape, generator=generator, dtype=drawn.dtype, device=drawn.device
        )
        length = float(drawn.double().norm())
    return drawn / length
