"""INI002: initialisation made for linear layers in front of rectifiers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Confidence, Evidence, Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.initialisations import final_initialisations, initialiser, is_default
from convlint.rules.patterns.layers import RECTIFIER_OPS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram
    from convlint.rules import Changes

XAVIER = frozenset({"xavier_uniform_", "xavier_normal_", "glorot_uniform_", "glorot_normal_"})
DEEP = 4
"""Layers in a row. Each loses a factor sqrt(2) of the signal: four lose a factor of 4, which an
adaptive optimizer still bridges; fewer are no fault at all."""


class XavierBeforeRelu(Rule):
    """Xavier initialisation without a gain is used for a deep stack of ReLU layers.

    ## What it does
    Reports `xavier_uniform_` or `xavier_normal_` with the default gain on four or more successive
    layers that are followed by a ReLU-family activation, in a model without normalisation or skip
    connections.

    ## Why it hurts
    Xavier initialisation keeps the variance of a linear layer. A ReLU passes half of it on, so the
    signal shrinks by sqrt(2) per layer: after 20 layers its standard deviation is 1.8e-4 where
    Kaiming initialisation keeps 0.15.

    ## Example
        import torch
        from torch import nn

        model = nn.Sequential(
            nn.Linear(20, 64), nn.ReLU(),
            nn.Linear(64, 64), nn.ReLU(),
            nn.Linear(64, 64), nn.ReLU(),
            nn.Linear(64, 64), nn.ReLU(),
            nn.Linear(64, 2),
        )
        for module in model.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## Use instead
        import torch
        from torch import nn

        model = nn.Sequential(
            nn.Linear(20, 64), nn.ReLU(),
            nn.Linear(64, 64), nn.ReLU(),
            nn.Linear(64, 64), nn.ReLU(),
            nn.Linear(64, 64), nn.ReLU(),
            nn.Linear(64, 2),
        )
        for module in model.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight, gain=nn.init.calculate_gain("relu"))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## When it is fine
    Shallow networks, normalisation layers, skip connections, attention, embeddings, a gain given.

    ## Measured
    `convlint probe` measures the gradient that reaches the first layers.

    ## References
    - He et al., Delving deep into rectifiers, ICCV 2015
    """

    code, slug, severity = "INI002", "xavier-before-relu", Severity.WARNING
    fix = Applicability.UNSAFE
    confidence = Confidence.MEDIUM
    default = False
    confirmed_by = ("vanishing-gradient",)

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per call that leaves a deep rectifier stack short of its gain."""
        reported: set[Location] = set()
        for initialised in final_initialisations(program):
            call, architecture = initialised.call, initialised.architecture
            if initialiser(call) not in XAVIER or not is_default(call.args.get("gain")):
                continue
            if call.location in reported or not architecture.plain or architecture.embeds:
                continue
            decided = {layer.id for layer in initialised.layers}
            stack = [
                stage
                for stage in architecture.longest_run(RECTIFIER_OPS)
                if stage.layer is not None and stage.layer.id in decided
            ]
            if len(stack) < DEEP:
                continue
            reported.add(call.location)
            yield self.finding(
                call.location,
                f"{initialiser(call)} keeps its gain of 1, but {len(stack)} layers in a row are "
                f"followed by {stack[0].activation}: the signal shrinks by sqrt(2) at each",
                help='pass gain=nn.init.calculate_gain("relu"), or use nn.init.kaiming_uniform_',
                fix=self.repair("pass the gain of ReLU", _with_gain(program, call.location)),
                evidence=(
                    Evidence(
                        "static",
                        f"{len(stack)} successive layers of {architecture.model.cls}",
                        quantity="signal kept through the stack",
                        value=0.5 ** (len(stack) / 2),
                        expected="about 1",
                    ),
                ),
            )


def _with_gain(program: TrainingProgram, place: Location) -> Changes:
    function = edits.name_for(program, place, "torch.nn.init.calculate_gain")
    if function is None:
        return None
    given = edits.set_argument(program, place, "gain", f'{function[0]}("relu")', 1)
    return None if given is None else (*given, *function[1])
