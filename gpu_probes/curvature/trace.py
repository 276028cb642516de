"""Trace of the Hessian, and of its blocks, by random signs (Hutchinson 1990).

For a vector z of independent signs E zᵀHz = tr H, with variance 2 (‖H‖²_F − Σ h_ii²); and, block by
block, E z_bᵀ(Hz)_b = tr H_bb from the very same products, since what other blocks add has mean zero.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import torch

from convlint.gpu_probes.observations import Measurement

if TYPE_CHECKING:
    from convlint.gpu_probes.curvature.operator import HessianOperator

PROBES = 10
FEWEST = 3
"""Fewer probes give no standard error worth its name."""

UNIT = "loss per squared parameter"


def hutchinson(
    hessian: HessianOperator,
    *,
    probes: int = PROBES,
    seed: int = 0,
    deadline: float = float("inf"),
) -> tuple[Measurement, tuple[Measurement, ...]] | None:
    """The trace and that of the diagonal block of each parameter, each with its standard error.

    One product per probe, at most ``probes``; the interval is the value ± one standard error of
    the sample. None when fewer than three were made before ``deadline``.
    """
    generator = torch.Generator(device=hessian.gradient.device).manual_seed(seed)
    sizes = [p.numel() for p in hessian.parameters]
    rows: list[list[float]] = []
    for _ in range(probes):
        if time.monotonic() >= deadline:
            break
        signs = random_signs(hessian.gradient, generator)
        products = (signs * hessian(signs)).double()
        rows.append([float(block.sum()) for block in torch.split(products, sizes)])
    if len(rows) < FEWEST or not all(math.isfinite(v) for row in rows for v in row):
        return None
    whole = _with_error([math.fsum(row) for row in rows])
    return whole, tuple(_with_error(list(column)) for column in zip(*rows, strict=True))


def random_signs(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A vector of 1 and -1 with the shape, dtype and device of ``like``."""
    signs = torch.randint(0, 2, like.shape, generator=generator, device=like.device)
    return signs.to(like.dtype).mul_(2.0).sub_(1.0)


def _with_error(sample: list[float]) -> Measurement:
    n = len(sample)
    mean = math.fsum(sample) / n
    error = math.sqrt(math.fsum((value - mean) ** 2 for value in sample) / (n - 1) / n)
    return Measurement(mean, unit=UNIT, n=n, ci=(mean - error, mean + error))
