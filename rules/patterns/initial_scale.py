"""Whether weights still have the scale of a random initialisation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from convlint.rules.patterns.runs import is_weight

if TYPE_CHECKING:
    from collections.abc import Sequence

    from convlint.gpu_probes.observations import Parameter

__all__ = ["freshly_initialised"]

SPREAD = 0.71
"""Standard deviation of the rms of n normal values, relative to the rms, times sqrt(n): 1/sqrt(2).
Uniform values have 0.45."""
DEVIATIONS = 3.0
"""Sampling errors of the rms that are still called the same scale."""
SLACK = 0.01
"""Rounding, and correlations of orthogonal initialisation."""


def freshly_initialised(parameters: Sequence[Parameter]) -> bool:
    """Whether the weights among ``parameters`` all have the rms of a library initialisation.

    PyTorch's default for linear and convolutional layers has rms 1 / sqrt(3 fan_in), Kaiming
    sqrt(2 / fan) and Xavier sqrt(2 / (fan_in + fan_out)). Training moves weights off these
    values, so that several tensors at exactly their values have not been trained. False when
    there is no weight to tell by.
    """
    weights = [
        p for p in parameters if is_weight(p.name, p.shape) and p.weight_rms and _elements(p) > 1
    ]
    return bool(weights) and all(_has_initial_scale(weight) for weight in weights)


def _has_initial_scale(weight: Parameter) -> bool:
    receptive_field = math.prod(weight.shape[2:])
    fan_in = weight.shape[1] * receptive_field
    fan_out = weight.shape[0] * receptive_field
    laws = (
        1.0 / math.sqrt(3.0 * fan_in),
        1.0 / math.sqrt(fan_in),
        math.sqrt(2.0 / fan_in),
        math.sqrt(2.0 / fan_out),
        math.sqrt(2.0 / (fan_in + fan_out)),
    )
    tolerance = SLACK + DEVIATIONS * SPREAD / math.sqrt(_elements(weight))
    rms = weight.weight_rms or 0.0
    return any(abs(rms / law - 1.0) <= tolerance for law in laws)


def _elements(parameter: Parameter) -> int:
    return math.prod(parameter.shape)
