"""FLO002: the gradient or the signal grows by orders of magnitude through the layers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.predictions import Prediction
from convlint.rules import Rule
from convlint.rules.patterns.depth import end_to_end, first_weights, layers_judged, relative_gain
from convlint.rules.patterns.figures import figure, measured_evidence, surely_above
from convlint.rules.patterns.places import first_place, place_to_location

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.gpu_probes.observations import GradientFlow, Observations

SLOPE = 0.5
"""Per layer of one chain: exp(0.5) = 1.65, so six layers gain a factor of 20. Kaiming and Xavier
initialisation give 0 (He et al. 2015)."""
SLOPE_LAYERS = 6
"""Fewer layers do not give a trustworthy slope."""
SLOPE_TOTAL = 1e3
"""What the slope must amount to over the whole chain to hurt."""
END_TO_END = 1e4
"""First layer over last: beyond what widths and pooling explain in healthy networks."""
RELATIVE = 1e2
"""The first layers' gradient relative to their weights must also lie this far above the last
layer's: a network of few large weights and many small ones has uneven gradients by itself."""
FORWARD = 1e4
"""Last layer's output over the first layer's: healthy initialisations keep it within 100."""


class ExplodingGradient(Rule):
    """The gradient, or the signal, grows by orders of magnitude through the layers.

    ## What it does
    Compares, at the initial parameters, the gradient of the loss with respect to each layer's
    output (its trend over at least six layers, and the first layer against the last), and the
    outputs themselves.

    ## Why it hurts
    A step that suits the last layers throws the first ones far away, or the outputs overflow. The
    loss jumps or becomes NaN within a few steps.

    ## Example
        for module in model.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight)  # standard deviation 1 at every width

    ## Use instead
        for module in model.modules():
            if isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    ## When it is fine
    Embedding tables are left out: their scale is chosen by itself.

    ## Measured
    Slope of ln rms(dL/d output) per layer above 0.5 with its whole 95 % interval, over at least
    six layers and amounting to a factor of 1000; or the first layer above 1e4 times the last with
    the weight gradients saying the same; or outputs growing by more than 1e4.

    ## References
    - Glorot and Bengio, Understanding the difficulty of training deep feedforward neural
      networks, AISTATS 2010
    - He et al., Delving deep into rectifiers, ICCV 2015
    """

    code, slug, severity = "FLO002", "exploding-gradient", Severity.WARNING
    prediction = Prediction("gradient first/last", "above", SLOPE_TOTAL)
    measurements = ("gradient flow",)

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """One finding per model whose gradient or signal explodes."""
        for flow in seen.gradient_flow:
            backward, forward = _grows_backward(flow), _grows_forward(flow)
            if backward is None and forward is None:
                continue
            told = (
                f"the gradient at the first of {len(flow.layers)} layers is {figure(backward)} "
                "times that at the last"
                if backward is not None
                else f"the output of the last of {len(flow.layers)} layers is {figure(forward)} "
                "times that of the first"
            )
            yield self.finding(
                place_to_location(first_place(layer.place for layer in first_weights(flow)), seen),
                f"the signal explodes through depth: {told}, at initialisation",
                help="initialise the weights with a standard deviation near sqrt(2 / fan_in) "
                "(Kaiming), add normalisation layers, or clip the gradient norm",
                evidence=measured_evidence(
                    told,
                    quantity="gradient first/last" if backward is not None else "output last/first",
                    value=backward if backward is not None else forward,
                    expected="between 1e-4 and 1e4",
                ),
            )

    def reading(self, seen: Observations) -> str | None:
        """The largest ratio of the first layer's gradient to the last layer's."""
        ratios = [ratio for flow in seen.gradient_flow if (ratio := end_to_end(flow))]
        if not ratios:
            return None
        return f"the gradient at the first layer is {figure(max(ratios))} times that at the last"


def _grows_backward(flow: GradientFlow) -> float | None:
    ratio = end_to_end(flow)
    if flow.slope.value is not None and layers_judged(flow) >= SLOPE_LAYERS:
        total = math.exp(min(flow.slope.value * (layers_judged(flow) - 1), 100.0))
        if surely_above(flow.slope, SLOPE) and total > SLOPE_TOTAL:
            return ratio if ratio is not None and ratio > SLOPE_TOTAL else total
    gain = relative_gain(flow)
    if ratio is not None and ratio > END_TO_END and (gain is None or gain > RELATIVE):
        return ratio
    return None


def _grows_forward(flow: GradientFlow) -> float | None:
    if len(first_weights(flow)) < len(flow.layers):
        return None
    grown = flow.forward_end_to_end
    return grown.value if grown is not None and surely_above(grown, FORWARD) else None
