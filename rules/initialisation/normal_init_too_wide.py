"""INI005: weights drawn far too wide."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from convlint.findings import Applicability, Evidence, Finding, Severity
from convlint.rule_options import Option
from convlint.rules import Rule
from convlint.rules.patterns import edits, initialisation_edits
from convlint.rules.patterns.initialisations import final_initialisations, initialiser, is_default
from convlint.rules.patterns.layers import canonical, fan_in, is_weight_layer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import Object, TrainingProgram
    from convlint.rules import Changes

NORMAL = frozenset({"normal_", "trunc_normal_"})
WIDE = 0.5
"""Standard deviation of a weight from which on 16 inputs already double the signal."""
FEWEST_INPUTS = 16
GAIN_LIMIT = 2.0
"""std * sqrt(fan_in): by how much a layer multiplies the scale of its input. He initialisation has
1.41; two layers at 2 still cost less than one normalisation repairs."""
EXEMPT = ("pos", "cls", "token", "latent", "lora", "prototype", "embed", "emb", "query", "codebook")
"""Parameters that are not multiplied with a sum of inputs."""


class NormalInitTooWide(Rule):
    """Weights are drawn from a normal distribution of standard deviation around one.

    ## What it does
    Reports `normal_` or `trunc_normal_` on the weight of a linear or convolutional layer with the
    default standard deviation 1, or one of 0.5 and more, unless the layer has so few inputs that
    the signal keeps its size.

    ## Why it hurts
    A layer with n inputs multiplies the scale of its signal by std * sqrt(n): with 256 inputs and
    the default std of 1 that is 16 per layer. Activations and gradients explode with depth,
    saturating units saturate, and the loss starts tens or hundreds of times too high.

    ## Example
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
        for module in model.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## Use instead
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
        for module in model.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## When it is fine
    Embeddings, position and class tokens, latents, prototypes, and layers whose number of inputs
    is so small that std * sqrt(inputs) stays below 2.

    ## Measured
    `convlint probe` measures how gradients and activations grow through depth, and the initial
    loss against that of an uninformed prediction.

    ## References
    - He et al., Delving deep into rectifiers, ICCV 2015
    - PyTorch, `torch.nn.init.normal_`: std is 1.0 by default
    """

    code, slug, severity = "INI005", "normal-init-too-wide", Severity.WARNING
    fix = Applicability.UNSAFE
    confirmed_by = ("exploding-gradient", "initial-loss-off", "saturated-activations")

    std = Option(WIDE, "The standard deviation from which on it is judged.", least=0)

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per call that draws the weights of some layer too wide."""
        reported: set[Location] = set()
        for initialised in final_initialisations(program):
            call = initialised.call
            if initialiser(call) not in NORMAL or call.location in reported:
                continue
            std = call.args.get("std")
            deviation = 1.0 if std is None else std.number
            if deviation is None or deviation < self.std:
                continue
            wide = [layer for layer in initialised.layers if _too_wide(layer, deviation)]
            if not wide:
                continue
            reported.add(call.location)
            given = "its default std of 1" if is_default(std) else f"std {deviation:g}"
            gains = [deviation * math.sqrt(n) for layer in wide if (n := fan_in(layer)) is not None]
            growth = (
                f": each layer multiplies the signal by up to {max(gains):.3g}" if gains else ""
            )
            yield self.finding(
                call.location,
                f"{initialiser(call)} with {given} draws the weights far too wide{growth}",
                help="use nn.init.kaiming_normal_ or xavier_normal_, which scale with the number "
                "of inputs, or a small std such as 0.02",
                fix=self.repair("use std=0.02", _narrowed(program, call.location)),
                evidence=(
                    Evidence(
                        "static",
                        f"{len(wide)} layer(s) with std * sqrt(inputs) above {GAIN_LIMIT:g}",
                        quantity="std * sqrt(inputs)",
                        value=max(gains) if gains else None,
                        expected="about 1",
                    ),
                ),
            )


def _too_wide(layer: Object, deviation: float) -> bool:
    if not is_weight_layer(canonical(layer.cls)):
        return False
    if any(
        word in part for name in layer.names for part in name.lower().split("_") for word in EXEMPT
    ):
        return False
    inputs = fan_in(layer)
    if inputs is None:
        return True
    return inputs >= FEWEST_INPUTS and deviation * math.sqrt(inputs) > GAIN_LIMIT


def _narrowed(program: TrainingProgram, place: Location) -> Changes:
    """Only where the deviation is written in the call, or left out."""
    position = 2 if initialisation_edits.is_function(program, place) else 1
    call, layout = edits.call_at(program, place), program.layout(place)
    given = None if call is None else call.argument("std", position)
    if given is not None and (layout is None or not layout.literal(given.value)):
        return None
    return edits.set_argument(program, place, "std", "0.02", position)
