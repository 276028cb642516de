"""FLO008: parameters that receive a gradient and are never updated."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.predictions import Prediction
from convlint.rules import Rule
from convlint.rules.patterns.figures import measured_evidence, names
from convlint.rules.patterns.initial_scale import freshly_initialised
from convlint.rules.patterns.places import first_place, place_to_location
from convlint.rules.patterns.runs import has_several_optimizers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.gpu_probes.observations import Observations, Parameter

ERROR_SHARE = 0.5
"""When half of the model stays random, the model as written is not being trained."""


class ParameterNotOptimized(Rule):
    """Parameters receive a gradient but belong to no optimizer.

    ## What it does
    Lists trainable parameters of the model that the loss reaches and no optimizer holds.

    ## Why it hurts
    Their gradient is computed and thrown away; they keep their initial random values. Usual
    causes: the optimizer was built before the layer was added or replaced, or was given the
    parameters of a part of the model only, or of another model.

    ## Example
        optimizer = torch.optim.Adam(encoder.parameters())
        loss = F.cross_entropy(head(encoder(x)), y)

    ## Use instead
        optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()])
        loss = F.cross_entropy(head(encoder(x)), y)

    ## When it is fine
    Training only the last layers of a pre-trained network: worth a note (`requires_grad_(False)`
    saves time and memory), not a warning. Runs with several optimizers are not judged.

    ## Measured
    Gradients of the held batches against the parameter groups of every optimizer. Error when half
    of the model stays at a random initialisation (told by the scale of the weights).

    ## References
    - PyTorch documentation, torch.optim, Constructing it
    """

    code, slug, severity = "FLO008", "parameter-not-optimized", Severity.WARNING
    prediction = Prediction("parameters", "above", 0.0)
    measurements = ("parameters",)

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """One finding for all parameters that are never updated."""
        left_out = _left_out(seen)
        optimized = [p for p in seen.parameters if p.requires_grad and p.optimized]
        # An optimizer that shares nothing with the model may be one the script steps beside its
        # own updates by hand; without any gradient it trains nothing at all.
        idle = [use for use in seen.optimizers if use.found_gradients is False and use.steps > 1]
        if not left_out or not (optimized or idle):
            return
        random = freshly_initialised(left_out)
        feature_extraction = bool(optimized) and _only_below(left_out, optimized) and not random
        half = _elements(left_out) >= ERROR_SHARE * _elements([*left_out, *optimized])
        severity = self.severity
        if feature_extraction:
            severity = Severity.INFO
        elif not optimized or (random and half):
            severity = Severity.ERROR
        yield self.finding(
            place_to_location(
                first_place(p.place for p in (left_out if optimized else idle)), seen
            ),
            (
                f"{len(left_out)} parameters receive a gradient but are in no optimizer: "
                if optimized
                else f"all {len(left_out)} parameters that receive a gradient are in no optimizer,"
                " and those the optimizer holds receive none: "
            )
            + names([p.name for p in left_out])
            + (", which stay at their random initial values" if random else ""),
            help="freeze them with requires_grad_(False) if that is meant: it saves their gradient"
            if feature_extraction
            else "give the optimizer all trainable parameters, after the model is complete",
            severity=severity,
            evidence=measured_evidence(
                "parameters with a gradient and without an optimizer",
                quantity="parameters",
                value=float(len(left_out)),
                expected="0",
            ),
        )

    def reading(self, seen: Observations) -> str | None:
        """How many parameters an optimizer holds."""
        with_gradient = [p for p in seen.parameters if p.requires_grad and p.grad_rms]
        if not with_gradient or has_several_optimizers(seen):
            return None
        held = sum(p.optimized for p in with_gradient)
        return f"{held} of {len(with_gradient)} parameters with a gradient are in an optimizer"


def _left_out(seen: Observations) -> list[Parameter]:
    # With several optimizers a network that only passes a gradient on (the discriminator while
    # the generator trains) may have its own optimizer that has not stepped yet.
    if has_several_optimizers(seen) or not seen.optimizers:
        return []
    return [
        p
        for p in seen.parameters
        if p.requires_grad and p.registered and not p.optimized and p.grad_rms and not p.missing
    ]


def _only_below(left_out: list[Parameter], optimized: list[Parameter]) -> bool:
    """Whether everything left out lies nearer the input than everything trained."""
    return max(p.depth for p in left_out) < min(p.depth for p in optimized)


def _elements(parameters: list[Parameter]) -> int:
    return sum(math.prod(p.shape) for p in parameters)
