"""A gradient-flow profile read relative to depth and to the size of the weights."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convlint.gpu_probes.observations import GradientFlow, LayerFlow

__all__ = ["end_to_end", "first_weights", "layers_judged", "relative_gain"]

ENDS = 2
"""The relative gradient of an end of the network is taken over this many layers, so that one
layer with an unusual initialisation does not speak for it."""


def first_weights(flow: GradientFlow) -> tuple[LayerFlow, ...]:
    """The layers with a signal, nearest the input first, embeddings left out.

    Embedding tables are initialised on a scale of their own (0.02, 1, sometimes 1e-4) and only
    the rows in use receive a gradient; they say nothing about the flow through the layers.
    """
    layers = sorted(flow.layers, key=lambda layer: layer.depth)
    return tuple(
        layer for layer in layers if layer.output_grad_rms and "Embedding" not in layer.cls
    )


def layers_judged(flow: GradientFlow) -> int:
    """How many layers the slope was fitted over."""
    return flow.slope.n or len(first_weights(flow))


def end_to_end(flow: GradientFlow) -> float | None:
    """Gradient rms at the first layer's output over that at the last; None when not measured."""
    layers = first_weights(flow)
    if len(layers) == len(flow.layers) and flow.end_to_end.value is not None:
        return flow.end_to_end.value
    if len(layers) < ENDS:
        return None
    first, last = layers[0].output_grad_rms, layers[-1].output_grad_rms
    return first / last if first and last else None


def relative_gain(flow: GradientFlow) -> float | None:
    """Gradient over weight of the first layers, over that of the last ones.

    Each end is the geometric mean of its two layers; None with fewer than four layers.
    """
    relative = [
        layer.weight_grad_rms / layer.weight_rms
        for layer in first_weights(flow)
        if layer.weight_grad_rms and layer.weight_rms
    ]
    if len(relative) < 2 * ENDS:
        return None
    return math.sqrt(relative[0] * relative[1] / (relative[-1] * relative[-2]))
