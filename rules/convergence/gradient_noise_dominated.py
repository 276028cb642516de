"""CVG007: a step follows the noise of its few samples, not the gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.predictions import Prediction
from convlint.rules import Rule
from convlint.rules.patterns.figures import figure, measured_evidence, surely_below
from convlint.rules.patterns.places import place_to_location
from convlint.rules.patterns.runs import (
    has_moving_objective,
    improves,
    is_warming_up,
    uses_line_search,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.gpu_probes.observations import GradientNoise, Measurement, Observations

FAR_BELOW = 10.0
"""Noise scale over batch: a step is then less than a tenth as good as one without noise
(1 / (1 + B_noise / B), McCandlish et al., equation 2.7), and doubling the batch nearly halves the
number of steps."""
OVERSHOOTS = 2.0
"""Learning rate over the best one for this batch: from here on a step raises the loss on average,
its gain being proportional to rate x (1 - rate / (2 best rate)) (equation 2.5)."""


class GradientNoiseDominated(Rule):
    """The batch is far smaller than the gradient noise scale.

    ## What it does
    Compares the samples behind one step with the gradient noise scale: the batch size at which
    the gradient and its noise are equally strong.

    ## Why it hurts
    Every step goes where its few samples point. At a large learning rate the noise keeps the loss
    up: it jumps and does not come down.

    ## Example
        loader = DataLoader(dataset, batch_size=1, shuffle=True)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)

    ## Use instead
        loader = DataLoader(dataset, batch_size=64, shuffle=True)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)

    ## When it is fine
    At a small learning rate the steps average the noise, which costs steps and nothing else: a note.
    Moving targets, several optimizers, LBFGS and warm-up are not judged.

    ## Measured
    The noise scale of up to 32 batches (64 with `--tier deep`) at the initial parameters, with its
    interval: more than 10 times the samples of a step. Warning when the loss oscillates and gains
    nothing, or when gradient descent steps more than twice as far as the best step for this batch
    and gains nothing.

    ## References
    - McCandlish et al., An empirical model of large-batch training, 2018
    """

    code, slug, severity = "CVG007", "gradient-noise-dominated", Severity.WARNING
    prediction = Prediction("noise scale over batch", "above", FAR_BELOW)
    measurements = ("gradient noise", "steps")
    explained_by = ("LOP", "LOS", "AMP", "NRM", "unnormalized-input", "non-finite")

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """One finding for the optimizer whose steps were recorded."""
        noise = seen.gradient_noise
        ratio = None if noise is None else _least_ratio(noise)
        if noise is None or ratio is None or ratio <= FAR_BELOW or not _can_judge(seen):
            return
        scale = noise.scale.value or 0.0
        severity = _severity(noise, seen)
        wanted = _power_of_two((noise.step_size or 1) * ratio)
        yield self.finding(
            place_to_location(noise.place, seen),
            f"each step follows {_samples(noise.step_size)}; signal and noise of the gradient are"
            f" equally strong at {figure(scale)} samples{' or more' if noise.at_least else ''}"
            + _outcome(severity, noise),
            help=f"raise the batch, or accumulate gradients, towards {wanted} samples"
            + (
                "; or lower the learning rate, so that more steps share the noise"
                if severity is Severity.WARNING
                else ""
            ),
            severity=severity,
            evidence=measured_evidence(
                f"gradient noise scale over the samples of a step, from {noise.gradients} batches",
                quantity="noise scale over batch",
                value=ratio,
                expected="below 10",
            ),
        )

    def reading(self, seen: Observations) -> str | None:
        """The noise scale and the batch."""
        noise = seen.gradient_noise
        if noise is None or noise.scale.value is None or noise.step_size is None:
            return None
        bound = "at least " if noise.at_least else ""
        return (
            f"the gradient noise scale is {bound}{figure(noise.scale.value)} samples; a step has "
            f"{noise.step_size}"
        )


def _least_ratio(noise: GradientNoise) -> float | None:
    """The least that the noise scale can be, over the samples of a step.

    For adaptive optimizers in their own norm and in the plain one, whichever is less.
    """
    if noise.step_size is None or noise.scale.unit != "samples":
        return None
    scales = [noise.scale, *filter(None, [noise.preconditioned])]
    least = [_least(scale) for scale in scales]
    known = [value for value in least if value is not None]
    return min(known) / noise.step_size if len(known) == len(scales) else None


def _least(scale: Measurement) -> float | None:
    return scale.value if scale.ci is None else scale.ci[0]


def _can_judge(seen: Observations) -> bool:
    return not (
        has_moving_objective(seen)
        or uses_line_search(seen)
        or is_warming_up(seen)
        or "full batch" in seen.recognised
    )


def _severity(noise: GradientNoise, seen: Observations) -> Severity:
    if seen.convergence is None or improves(seen):
        return Severity.INFO
    oscillates = seen.convergence.kind == "oscillating"
    return Severity.WARNING if oscillates or _overshoots(noise) else Severity.INFO


def _overshoots(noise: GradientNoise) -> bool:
    rate = noise.rate_in_use
    return rate is not None and surely_below(noise.best_rate, rate / OVERSHOOTS)


def _outcome(severity: Severity, noise: GradientNoise) -> str:
    if severity is Severity.INFO:
        return "; a larger batch needs fewer steps"
    best = None if noise.best_rate is None else noise.best_rate.value
    if _overshoots(noise) and best:
        return (
            f"; at this batch the best rate is {figure(best)}, in use is "
            f"{figure(noise.rate_in_use)}, and the loss does not come down"
        )
    return ", and the loss jumps without coming down"


def _samples(count: int | None) -> str:
    return "a single sample" if count == 1 else f"{count} samples"


def _power_of_two(samples: float) -> int:
    """The next power of two, as batch sizes are chosen."""
    return 1 << max(0, int(samples) - 1).bit_length()
