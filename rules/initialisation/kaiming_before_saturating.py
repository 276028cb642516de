"""INI003: initialisation made for rectifiers in front of saturating activations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Confidence, Evidence, Finding, Severity
from convlint.rules import Rule
from convlint.rules.initialisation.deep_saturating_stack import DEEP, saturating_stack
from convlint.rules.patterns import edits, initialisation_edits
from convlint.rules.patterns.initialisations import final_initialisations, initialiser
from convlint.rules.patterns.layers import RECTIFIER_OPS, SATURATING_OPS, SMOOTH_RECTIFIER_OPS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import Initialisation, TrainingProgram
    from convlint.rules import Changes

KAIMING = frozenset({"kaiming_uniform_", "kaiming_normal_"})
FOR_RECTIFIERS = frozenset({"relu", "leaky_relu"})


class KaimingBeforeSaturating(Rule):
    """Kaiming initialisation is used for a network of sigmoid or tanh layers.

    ## What it does
    Reports `kaiming_uniform_` or `kaiming_normal_` with a gain for rectifiers (the default) on
    layers of a model whose hidden activations are all sigmoid, tanh or softsign.

    ## Why it hurts
    The gain of sqrt(2) makes up for the half of the signal a ReLU cuts off. A saturating
    activation cuts nothing off, so the inputs are wider than meant. With tanh the effect is small;
    a sigmoid network vanishes whatever the gain. That is why this is a note by itself, and a
    warning in a stack of four saturating layers or more.

    ## Example
        import torch
        from torch import nn

        model = nn.Sequential(
            nn.Linear(20, 64), nn.Tanh(),
            nn.Linear(64, 64), nn.Tanh(),
            nn.Linear(64, 2),
        )
        for module in model.modules():
            if isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## Use instead
        import torch
        from torch import nn

        model = nn.Sequential(
            nn.Linear(20, 64), nn.Tanh(),
            nn.Linear(64, 64), nn.Tanh(),
            nn.Linear(64, 2),
        )
        for module in model.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight, gain=5 / 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## When it is fine
    Any ReLU, GELU or SiLU among the activations; `nonlinearity="tanh"` given.

    ## Measured
    `convlint probe` measures the gradient that reaches the first layers and the share of
    saturated units.

    ## References
    - Glorot and Bengio, Understanding the difficulty of training deep feedforward neural
      networks, AISTATS 2010
    - He et al., Delving deep into rectifiers, ICCV 2015
    """

    code, slug, severity = "INI003", "kaiming-before-saturating", Severity.INFO
    fix = Applicability.UNSAFE
    confidence = Confidence.MEDIUM
    confirmed_by = ("vanishing-gradient", "saturated-activations")

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per call; a warning in a deep stack of saturating layers."""
        reported: set[Location] = set()
        for initialised in final_initialisations(program):
            call, architecture = initialised.call, initialised.architecture
            if call.location in reported or not _for_rectifiers(call) or not architecture.known:
                continue
            if architecture.ops & (RECTIFIER_OPS | SMOOTH_RECTIFIER_OPS):
                continue
            hidden = {stage.activation for stage in architecture.hidden()}
            saturating = sorted(op for op in hidden if op in SATURATING_OPS)
            if not saturating or len(saturating) != len(hidden):
                continue
            reported.add(call.location)
            deep = len(saturating_stack(architecture)) >= DEEP
            yield self.finding(
                call.location,
                f"{initialiser(call)} scales the weights for ReLU, but the layers are followed by "
                f"{' and '.join(saturating)}",
                help="use nn.init.xavier_normal_ with nn.init.calculate_gain("
                f'"{saturating[0]}") as gain',
                severity=Severity.WARNING if deep else Severity.INFO,
                fix=self.repair(
                    f"scale the weights for {saturating[0]}",
                    _xavier(program, call, saturating[0]) if len(saturating) == 1 else None,
                ),
                evidence=(
                    Evidence(
                        "static",
                        f"the hidden activations of {architecture.model.cls} are "
                        f"{' and '.join(saturating)}",
                    ),
                ),
            )


def _for_rectifiers(call: Initialisation) -> bool:
    """Whether this is Kaiming initialisation with the gain of a rectifier."""
    if initialiser(call) not in KAIMING:
        return False
    nonlinearity = call.args.get("nonlinearity")
    return nonlinearity is None or nonlinearity.constant in FOR_RECTIFIERS


def _xavier(program: TrainingProgram, call: Initialisation, activation: str) -> Changes:
    gain = edits.name_for(program, call.location, "torch.nn.init.calculate_gain")
    if gain is None or activation not in ("tanh", "sigmoid"):
        return None
    name = "xavier_uniform_" if "uniform" in initialiser(call) else "xavier_normal_"
    arguments = f', gain={gain[0]}("{activation}")'
    written = initialisation_edits.initialise_by(program, call, name, arguments)
    return None if written is None else (*written, *gain[1])
