"""FLO001: the gradient all but disappears on its way to the first layers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.predictions import Prediction
from convlint.rules import Rule
from convlint.rules.patterns.depth import end_to_end, first_weights, layers_judged, relative_gain
from convlint.rules.patterns.figures import (
    figure,
    measured_evidence,
    surely_below,
)
from convlint.rules.patterns.places import first_place, place_to_location
from convlint.rules.patterns.runs import improves

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.gpu_probes.observations import GradientFlow, Observations

SLOPE = -0.5
"""Per layer of one chain: exp(-0.5) = 0.6, so six layers lose a factor of 20. Kaiming and Xavier
initialisation give 0 (He et al. 2015); a sigmoid chain cannot do better than -1.39."""
SLOPE_LAYERS = 6
"""Fewer layers give neither a trustworthy slope nor a loss that an optimizer cannot bridge."""
SLOPE_TOTAL = 1e-3
"""What the slope must amount to over the whole chain: seven plain ReLU layers at PyTorch's default
initialisation lose a factor of 100 to 300 and still train."""
END_TO_END = 1e-4
"""First layer over last: beyond what pooling and width explain in healthy networks."""
RELATIVE = 1e-2
"""The first layers' gradient relative to their weights must also lie this far below the last
layer's: pooling spreads the gradient of an output thinly over positions, but the gradient of the
weights sums over the positions again."""
LOST = 1e-6
"""A millionth at the first layer, with a loss that does not come down: the network does not train."""


class VanishingGradient(Rule):
    """The gradient shrinks by orders of magnitude on its way to the first layers.

    ## What it does
    Compares the gradient of the loss with respect to each layer's output, at the initial
    parameters: its trend over a chain of at least six layers, and the first layer against the
    last.

    ## Why it hurts
    The first layers receive updates orders of magnitude smaller than the last ones and stay at
    their random initial values, so the network learns on random features or not at all.

    ## Example
        layers = []
        for _ in range(12):
            layers += [nn.Linear(64, 64), nn.Sigmoid()]
        model = nn.Sequential(*layers, nn.Linear(64, 10))

    ## Use instead
        layers = []
        for _ in range(12):
            layers += [nn.Linear(64, 64), nn.LayerNorm(64), nn.ReLU()]
        model = nn.Sequential(*layers, nn.Linear(64, 10))

    ## When it is fine
    A last layer or a residual gain that starts at zero blocks the gradient for exactly one step;
    an exact zero is not called vanishing.

    ## Measured
    Slope of ln rms(dL/d output) per layer below -0.5 with its whole 95 % interval, over at least
    six layers and amounting to a factor of 1000; or the first layer below 1e-4 of the last with
    the weight gradients saying the same. Error below 1e-6 when the loss does not come down.

    ## References
    - Glorot and Bengio, Understanding the difficulty of training deep feedforward neural
      networks, AISTATS 2010
    - He et al., Delving deep into rectifiers, ICCV 2015
    """

    code, slug, severity = "FLO001", "vanishing-gradient", Severity.WARNING
    prediction = Prediction("gradient first/last", "below", SLOPE_TOTAL)
    measurements = ("gradient flow",)

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """One finding per model whose gradient vanishes."""
        for flow in seen.gradient_flow:
            ratio = end_to_end(flow)
            if not _shrinks(flow) or ratio is None or ratio <= 0.0:
                continue
            lost = ratio < LOST and seen.steps > 0 and not improves(seen)
            yield self.finding(
                place_to_location(first_place(layer.place for layer in first_weights(flow)), seen),
                f"the gradient vanishes: at the first of {len(flow.layers)} layers it is "
                f"{figure(ratio)} of what it is at the last{_per_layer(flow)}, so the first layers "
                "hardly learn",
                help="add normalisation or residual connections, use ReLU-family activations with "
                "Kaiming initialisation, or make the network shallower",
                severity=Severity.ERROR if lost else self.severity,
                evidence=measured_evidence(
                    "rms of the gradient at the first layer's output over the last layer's",
                    quantity="gradient first/last",
                    value=ratio,
                    expected="between 1e-4 and 1e4",
                ),
            )

    def reading(self, seen: Observations) -> str | None:
        """The smallest ratio of the first layer's gradient to the last layer's."""
        ratios = [ratio for flow in seen.gradient_flow if (ratio := end_to_end(flow))]
        if not ratios:
            return None
        return f"the gradient at the first layer is {figure(min(ratios))} of that at the last"


def _per_layer(flow: GradientFlow) -> str:
    if flow.slope.value is None:
        return ""
    return f" (a factor of {figure(math.exp(flow.slope.value))} per layer)"


def _shrinks(flow: GradientFlow) -> bool:
    if flow.slope.value is not None and layers_judged(flow) >= SLOPE_LAYERS:
        total = math.exp(flow.slope.value * (layers_judged(flow) - 1))
        if surely_below(flow.slope, SLOPE) and total < SLOPE_TOTAL:
            return True
    ratio = end_to_end(flow)
    gain = relative_gain(flow)
    return ratio is not None and 0.0 < ratio < END_TO_END and (gain is None or gain < RELATIVE)
