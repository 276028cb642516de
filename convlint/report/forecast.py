"""The curve of a fitted convergence rate, over the steps it was fitted to and ahead of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from convlint.gpu_probes.observations import Convergence

AHEAD = 1.0
"""The forecast covers as many steps again as were run: further on, a rate fitted to a short run
says nothing."""

POINTS = 80
OFFSETS = 60
"""Offsets k₀ of a power law that are tried, evenly in their logarithm."""


@dataclass(frozen=True)
class Forecast:
    """``fit`` over the steps the rate was fitted to, ``ahead`` from the last one on."""

    name: str
    fit: list[tuple[float, float | None]]
    ahead: list[tuple[float, float | None]]


def forecast(convergence: Convergence, losses: Sequence[float | None]) -> Forecast | None:
    """The curve f∞ + a·shape(k) with the measured rate and limit, a by least squares.

    Linear convergence has the shape ρᵏ, sublinear convergence (k + k₀)⁻ᵖ, whose k₀ is the best of a
    grid. None where no rate was measured.
    """
    rate, limit = convergence.rate, convergence.limit
    if rate is None or rate.value is None or limit is None or limit.value is None:
        return None
    start = max(0, len(losses) - rate.n) if rate.n else 0
    seen = [(k - start, v) for k, v in enumerate(losses) if k >= start and v is not None]
    if len(seen) < 2:
        return None
    floor, value = limit.value, rate.value
    if convergence.rate_class == "linear" and 0 < value < 1:
        shapes: list[Callable[[float], float]] = [lambda k: value**k]
        name = f"fit: limit + a·{value:.4g}^step"
    elif convergence.rate_class == "sublinear" and value != 0:
        power = abs(value)
        widest = 2.0 * len(losses)
        offsets = [0.1 * (widest / 0.1) ** (i / (OFFSETS - 1)) for i in range(OFFSETS)]
        shapes = [lambda k, k0=k0: (1.0 + k / k0) ** -power for k0 in offsets]  # type: ignore[misc]
        name = f"fit: limit + a·(step + k₀)^-{power:.3g}"
    else:
        return None
    _, amplitude, shape = min((_fitted(seen, floor, s) for s in shapes), key=lambda fit: fit[0])
    if not math.isfinite(amplitude):
        return None
    last = len(losses) - 1

    def curve(first: float, end: float) -> list[tuple[float, float | None]]:
        steps = (first + (end - first) * i / (POINTS - 1) for i in range(POINTS))
        return [(k, floor + amplitude * shape(k - start)) for k in steps]

    return Forecast(name, curve(start, last), curve(last, last + AHEAD * len(losses)))


def _fitted(
    seen: Sequence[tuple[int, float]], floor: float, shape: Callable[[float], float]
) -> tuple[float, float, Callable[[float], float]]:
    """Residual squares, amplitude and shape."""
    over = sum(shape(k) ** 2 for k, _ in seen)
    amplitude = sum(shape(k) * (v - floor) for k, v in seen) / over if over > 0 else math.nan
    squares = sum((v - floor - amplitude * shape(k)) ** 2 for k, v in seen)
    return (squares if math.isfinite(squares) else math.inf), amplitude, shape
