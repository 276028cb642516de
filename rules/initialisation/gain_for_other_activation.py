"""INI015: the gain of another activation."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from convlint.findings import Applicability, Evidence, Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.initialisations import (
    final_initialisations,
    initialiser,
    is_default,
)
from convlint.rules.patterns.layers import (
    RECTIFIER_OPS,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import (
        Initialisation,
        TrainingProgram,
    )
    from convlint.rules import Changes

RECTIFIERS = RECTIFIER_OPS | {"gelu", "silu", "elu", "celu", "mish", "hardswish", "softplus"}
FAMILIES = {
    "relu": RECTIFIERS,
    "leaky_relu": RECTIFIERS,
    "tanh": frozenset({"tanh", "hardtanh", "softsign"}),
    "sigmoid": frozenset({"sigmoid", "hardsigmoid"}),
    "selu": frozenset({"selu"}),
}
"""The activations each name is right for."""
KNOWN = frozenset().union(*FAMILIES.values())


class GainForOtherActivation(Rule):
    """Weights are scaled for another activation than the one that follows.

    ## What it does
    Reports `calculate_gain(X)` or `nonlinearity=X` where every initialised hidden layer is
    followed by a known activation of another kind.

    ## Why it hurts
    The gain makes up for what the activation does to the variance: 1.41 for ReLU, 1.67 for tanh,
    0.75 for SELU, 1 for sigmoid. With the wrong one the signal grows or shrinks by the ratio at
    every layer.

    ## Example
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
        for module in model.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight, gain=nn.init.calculate_gain('tanh'))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## Use instead
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
        for module in model.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight, gain=nn.init.calculate_gain('relu'))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## When it is fine
    Activations that are not known or of several kinds; `linear`, which is how LeCun initialisation
    is written. Kaiming initialisation for ReLU before saturating units has a rule of its own.

    ## Measured
    `convlint probe` measures how gradients and activations grow through depth.

    ## References
    - PyTorch, `torch.nn.init.calculate_gain`
    """

    code, slug, severity = "INI015", "gain-for-other-activation", Severity.WARNING
    fix = Applicability.SAFE
    confirmed_by = ("vanishing-gradient", "exploding-gradient")

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per call."""
        reported: set[Location] = set()
        for initialised in final_initialisations(program):
            call = initialised.call

            named = _named(call)
            if (
                named not in FAMILIES
                or call.location in reported
                or not initialised.architecture.known
            ):
                continue
            numbers = {layer.id for layer in initialised.layers}
            following = {
                stage.activation
                for stage in initialised.architecture.hidden()
                if stage.layer is not None and stage.layer.id in numbers
            }
            met = sorted(op for op in following if op is not None and op in KNOWN)
            if not met or len(met) != len(following) or FAMILIES[named] & following:
                continue
            if initialiser(call).startswith("kaiming") and named in ("relu", "leaky_relu"):
                continue
            reported.add(call.location)
            yield self.finding(
                call.location,
                f"the weights are scaled for {named}, but the layers are followed by "
                f"{' and '.join(met)}",
                help=f'use the gain of "{met[0]}"',
                fix=self.repair(
                    f"use the gain of {met[0]}",
                    _gain_of(program, call.location, met[0])
                    if len(met) == 1 and met[0] in NAMED_BY_TORCH
                    else None,
                ),
                evidence=(Evidence("static", f"gain of {named} before {' and '.join(met)}"),),
            )


def _named(call: Initialisation) -> str:
    """The activation the call names; empty when it names none."""
    nonlinearity, gain = call.args.get("nonlinearity"), call.args.get("gain")
    if nonlinearity is not None and not is_default(nonlinearity):
        return str(nonlinearity.constant)
    text = gain.origin.text if gain is not None and gain.origin is not None else ""
    met = re.match(r'calculate_gain\("(\w+)"\)', text)
    return met[1] if met else ""


NAMED_BY_TORCH = ("relu", "leaky_relu", "tanh", "sigmoid", "selu")
"""Names that `calculate_gain` knows."""


def _gain_of(program: TrainingProgram, place: Location, activation: str) -> Changes:
    """Name the activation in ``nonlinearity=`` or in ``gain=calculate_gain(...)``."""
    layout, call = program.layout(place), edits.call_at(program, place)
    if layout is None or call is None:
        return None
    named = call.argument("nonlinearity", 3)
    gain = call.argument("gain", 1)
    if named is None and gain is not None:
        inner = layout.call(gain.value)
        named = None if inner is None else inner.argument("nonlinearity", 0)
        if inner is None or len(inner.arguments) != 1:
            return None
    if named is None or not layout.literal(named.value):
        return None
    return edits.replace(named.value, f'"{activation}"')
