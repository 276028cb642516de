"""Series as a row of bars, one letter each, for a terminal or a comment on a pull request."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from convlint.gpu_probes.observations import GradientFlow

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 40
NARROW = 24
"""Letters beside a text on a terminal of 80 columns."""

FEWEST = 3
"""Two bars say no more than their two numbers."""

FAINTEST_SHARE = 1e-4
"""Shares of a spectrum below this are the lowest bar."""


def sparkline(values: Sequence[float | None], width: int = WIDTH) -> str:
    """The course of a series in at most ``width`` letters; a blank where it has no value."""
    if len(values) < 2:
        return ""
    stride = max(1, -(-len(values) // width))
    parts = [
        [v for v in values[start : start + stride] if v is not None]
        for start in range(0, len(values), stride)
    ]
    means = [sum(part) / len(part) if part else None for part in parts]
    known = [mean for mean in means if mean is not None]
    if not known:
        return ""
    low, span = min(known), max(known) - min(known)
    return "".join(
        " " if mean is None else BARS[round((mean - low) / span * (len(BARS) - 1)) if span else 0]
        for mean in means
    )


def by_depth(flow: GradientFlow, width: int = NARROW) -> str:
    """The logarithm of the gradient's size layer by layer, the input's side first."""
    layers = sorted(flow.layers, key=lambda layer: layer.depth)
    logarithms = [
        math.log(layer.output_grad_rms) if layer.output_grad_rms else None for layer in layers
    ]
    return sparkline(logarithms, width) if len(layers) >= FEWEST else ""


def spectrum(nodes: Sequence[tuple[float, float]], width: int = NARROW) -> str:
    """The logarithm of the share of eigenvalues in ``width`` equal ranges, the smallest first.

    ``nodes`` are pairs of eigenvalue and share; a range without any is blank.
    """
    if len(nodes) < FEWEST:
        return ""
    low, high = min(value for value, _ in nodes), max(value for value, _ in nodes)
    if not high > low:
        return ""
    shares = [0.0] * width
    for value, share in nodes:
        shares[min(width - 1, int((value - low) / (high - low) * width))] += share
    floor = math.log(FAINTEST_SHARE)
    logarithms = [max(floor, math.log(share)) if share > 0 else None for share in shares]
    return sparkline(logarithms, width)
