"""INI004: a slope that Kaiming initialisation does not use."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from convlint.findings import Applicability, Evidence, Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.initialisations import (
    final_initialisations,
    initialiser,
)
from convlint.rules.patterns.layers import (
    Architecture,
    canonical,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import (
        Object,
        TrainingProgram,
    )

KAIMING = frozenset({"kaiming_uniform_", "kaiming_normal_"})
TENTH = 1.1
"""A smaller factor per layer stays below 2.6 over ten layers."""


class KaimingSlopeIgnored(Rule):
    """The slope given to Kaiming initialisation is not the one of the activation.

    ## What it does
    Reports `kaiming_*` whose `a` is ignored (`nonlinearity="relu"`) or differs from the slope of
    the LeakyReLU that follows, where this changes the scale of the weights by a tenth or more.

    ## Why it hurts
    The gain is sqrt(2 / (1 + a^2)), and only for `nonlinearity="leaky_relu"`. A wrong slope scales
    every layer by the same factor, which multiplies over the depth.

    ## Example
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(64, 64), nn.LeakyReLU(0.8), nn.Linear(64, 64), nn.LeakyReLU(0.8), nn.Linear(64, 2))
        for module in model.modules():
            if isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight, a=0.8, nonlinearity='relu')
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## Use instead
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(64, 64), nn.LeakyReLU(0.8), nn.Linear(64, 64), nn.LeakyReLU(0.8), nn.Linear(64, 2))
        for module in model.modules():
            if isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight, a=0.8, nonlinearity='leaky_relu')
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## When it is fine
    A slope of 0.2 left at the default of 0, as in many GANs: the scale differs by two in a
    hundred. `a=math.sqrt(5)` with the default nonlinearity, which is the library's own
    initialisation.

    ## Measured
    `convlint probe` measures how gradients and activations grow through depth.

    ## References
    - PyTorch, `torch.nn.init.kaiming_normal_`: a is only used with leaky_relu
    - He et al., Delving deep into rectifiers, ICCV 2015, equation 15
    """

    code, slug, severity = "INI004", "kaiming-slope-ignored", Severity.WARNING
    fix = Applicability.SAFE
    confirmed_by = ("vanishing-gradient", "exploding-gradient")

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per call."""
        reported: set[Location] = set()
        for initialised in final_initialisations(program):
            call = initialised.call

            if initialiser(call) not in KAIMING or call.location in reported:
                continue
            slope, nonlinearity = call.args.get("a"), call.args.get("nonlinearity")
            a = slope.number if slope is not None else 0.0
            kind = nonlinearity.constant if nonlinearity is not None else "leaky_relu"
            if a is None or kind not in ("relu", "leaky_relu"):
                continue
            if kind == "relu":
                used, meant, why = 0.0, a, "is ignored with nonlinearity='relu'"
            else:
                slopes = _slopes_after(program, initialised.architecture, initialised.layers)
                if len(slopes) != 1 or math.isclose(a, math.sqrt(5.0), rel_tol=1e-3):
                    continue
                used, meant = a, slopes.pop()
                why = f"is not the slope {meant:g} of the LeakyReLU that follows"
            ratio = math.sqrt((1 + meant**2) / (1 + used**2))
            if max(ratio, 1 / ratio) < TENTH:
                continue
            reported.add(call.location)
            yield self.finding(
                call.location,
                f"a={a:g} {why}: the weights are {ratio:.3g} times as wide as meant",
                help="pass `nonlinearity='leaky_relu'` and the slope of the activation as `a`",
                fix=self.repair(
                    "let the slope count",
                    edits.set_argument(program, call.location, "nonlinearity", '"leaky_relu"', 3),
                )
                if kind == "relu"
                else self.repair(
                    "use the slope of the activation",
                    edits.set_argument(program, call.location, "a", f"{meant:g}", 1),
                ),
                evidence=(
                    Evidence(
                        "static",
                        "gain of Kaiming initialisation over the gain meant",
                        quantity="gain ratio",
                        value=ratio,
                        expected="1",
                    ),
                ),
            )


def _slopes_after(
    program: TrainingProgram, architecture: Architecture, layers: tuple[Object, ...]
) -> set[float]:
    """The slopes of the LeakyReLUs in the model, when these follow the initialised layers."""
    numbers = {layer.id for layer in layers}
    following = {
        stage.activation
        for stage in architecture.hidden()
        if stage.layer is not None and stage.layer.id in numbers
    }
    if following != {"leaky_relu"}:
        return set()
    outputs = {flow.id for flow in program.flows if flow.layer in numbers}
    given = [
        layer.args.get("negative_slope")
        for layer in architecture.layers
        if canonical(layer.cls) == "leaky_relu"
    ] + [
        flow.args.get("negative_slope")
        for flow in program.flows
        if flow.op == "leaky_relu" and flow.layer is None and outputs.intersection(flow.inputs)
    ]
    slopes = {value.number if value is not None else None for value in given}
    return {slope for slope in slopes if slope is not None} if None not in slopes else set()
