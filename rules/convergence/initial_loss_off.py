"""CVG001: the first loss is far from that of an uninformed prediction."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.predictions import Prediction
from convlint.rules import Rule
from convlint.rules.patterns.figures import figure, interval, measured_evidence, surely_above
from convlint.rules.patterns.loss_series import first_and_last, steps_observed
from convlint.rules.patterns.places import place_to_location
from convlint.rules.patterns.runs import CLASSIFICATION, improves

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.gpu_probes.observations import LossFunction, Observations

OVERCONFIDENT = 0.5
"""Nats above ln C: independent logits of standard deviation s give ln C + s^2 / 2, so this is a
standard deviation of 1 at initialisation, where 0 to 0.6 is usual."""
HOPELESS = 2.0
"""Times ln C: the network is certain of the wrong answer."""
STEPS = 50
"""Steps the run is given to unlearn its first certainty."""
SAMPLES = 30
"""Elements behind the mean loss; a skewed loss needs them for its interval to hold."""


class InitialLossOff(Rule):
    """The loss before the first step is far above that of an uninformed prediction.

    ## What it does
    Compares the mean loss per element at the initial parameters with ln C (ln 2 for two classes),
    the loss of giving every class the same probability.

    ## Why it hurts
    A fresh network should know nothing. One that is sure of wrong answers has outputs of too
    large a scale (initialisation, unnormalised inputs) or wrong labels; the first steps, with the
    largest gradients of the run, are spent on unlearning that.

    ## Example
        nn.init.normal_(head.weight, std=1.0)
        loss = F.cross_entropy(head(features), labels)

    ## Use instead
        nn.init.normal_(head.weight, std=0.01)
        loss = F.cross_entropy(head(features), labels)

    ## When it is fine
    A loss below ln C: a pre-trained model, or a bias set to the class frequencies. Regression
    losses, whose size follows the targets, and contrastive losses over the batch are not judged.

    ## Measured
    Warning above ln C + 0.5 with the whole interval, from at least 30 elements; error above
    2 ln C when 50 steps do not bring the loss below ln C.

    ## References
    - Karpathy, A recipe for training neural networks, 2019 (verify loss at init)
    """

    code, slug, severity = "CVG001", "initial-loss-off", Severity.WARNING
    prediction = Prediction("initial loss", "above", "that of a uniform guess")
    measurements = ("initial loss",)
    explained_by = ("LOS", "unnormalized-input")

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """One finding per loss function whose first value is off."""
        for loss in seen.losses:
            uniform = _uniform(loss)
            if uniform is None or not surely_above(loss.initial, uniform + OVERCONFIDENT):
                continue
            hopeless = surely_above(loss.initial, HOPELESS * uniform) and not _recovers(
                uniform, seen
            )
            expected = f"{figure(uniform)} = {_formula(loss)}"
            yield self.finding(
                place_to_location(loss.place, seen),
                f"the {loss.function} before the first step is {interval(loss.initial)}; an "
                f"untrained network should start near {expected}",
                help="scale the last layer's initialisation down, standardise the inputs, and "
                "check that labels and predictions belong together",
                severity=Severity.ERROR if hopeless else self.severity,
                evidence=measured_evidence(
                    f"mean {loss.function} per element at the initial parameters",
                    quantity="initial loss",
                    value=loss.initial.value,
                    unit="nats",
                    expected=expected,
                ),
            )

    def reading(self, seen: Observations) -> str | None:
        """The initial loss beside the uninformed one."""
        for loss in seen.losses:
            uniform = _uniform(loss)
            if uniform is not None and loss.initial.value is not None:
                return (
                    f"the initial {loss.function} is {figure(loss.initial.value)}, near "
                    f"{figure(uniform)} = {_formula(loss)}"
                )
        return None


def _recovers(uniform: float, seen: Observations) -> bool:
    """Whether the run gets below the uniform prediction; any descent when scales differ."""
    span = first_and_last(seen)
    if seen.baseline is None or span is None or steps_observed(seen) < STEPS:
        return improves(seen)
    return span[1] < uniform


def _uniform(loss: LossFunction) -> float | None:
    """Loss of the uniform prediction, for losses that may be judged."""
    contrastive = len(loss.input_shape) == 2 and loss.input_shape[0] == loss.input_shape[1]
    if (
        loss.function not in CLASSIFICATION
        or not loss.back_propagated
        or contrastive
        or loss.initial.n < SAMPLES
        or loss.uniform is None
    ):
        return None
    return loss.uniform.value


def _formula(loss: LossFunction) -> str:
    binary = loss.function.startswith("binary") or loss.classes is None
    if not binary and loss.uniform is not None and loss.uniform.value is not None:
        return f"ln {loss.classes or round(math.exp(loss.uniform.value))}"
    return "ln 2"
