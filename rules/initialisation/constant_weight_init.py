"""INI001: all units of a hidden layer start identical."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Confidence, Evidence, Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns import initialisation_edits
from convlint.rules.patterns.initialisations import final_initialisations, initialiser

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import Initialisation, Object, TrainingProgram
    from convlint.rules.patterns.layers import Architecture

CONSTANT = frozenset({"zeros_", "ones_", "constant_", "fill_", "zero_"})
ZERO_BY_DESIGN = ("lora", "zero", "proj_out", "out_proj", "adaln", "head", "control", "gate")
"""Layers that start at zero so that their branch starts as the identity."""


class ConstantWeightInit(Rule):
    """The weights of a hidden layer all start at the same value.

    ## What it does
    Reports `zeros_`, `ones_`, `constant_` (or `fill_`, `zero_`) on the weight of a linear or
    convolutional layer that feeds another layer.

    ## Why it hurts
    Units that start identical compute the same output and, as long as the weights behind them are
    identical too, receive the same gradient: they stay copies of each other and the layer has the
    capacity of one unit. Zeros also let no gradient through to the layers before.

    ## Example
        import torch
        from torch import nn

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.first = nn.Linear(20, 64)
                self.second = nn.Linear(64, 64)
                self.last = nn.Linear(64, 2)
                for layer in (self.first, self.second):
                    nn.init.constant_(layer.weight, 0.1)

            def forward(self, x):
                x = torch.relu(self.first(x))
                x = torch.relu(self.second(x))
                return self.last(x)

        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## Use instead
        import torch
        from torch import nn

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.first = nn.Linear(20, 64)
                self.second = nn.Linear(64, 64)
                self.last = nn.Linear(64, 2)
                for layer in (self.first, self.second):
                    nn.init.kaiming_normal_(layer.weight)

            def forward(self, x):
                x = torch.relu(self.first(x))
                x = torch.relu(self.second(x))
                return self.last(x)

        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## When it is fine
    Normalisation layers, biases, the output layer, and zeros by design: the last layer of a
    residual branch, the second factor of a low-rank product, zero-initialised heads and gates.

    ## Measured
    `convlint probe` compares the rows of every weight, and of its gradient, at the start.

    ## References
    - Goodfellow, Bengio and Courville, Deep Learning, 2016, section 8.4
    """

    code, slug, severity = "INI001", "constant-weight-init", Severity.ERROR
    fix = Applicability.UNSAFE
    confidence = Confidence.MEDIUM
    confirmed_by = ("symmetric-init",)

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per call that makes the units of a hidden layer identical."""
        reported: set[Location] = set()
        for initialised in final_initialisations(program):
            call, architecture = initialised.call, initialised.architecture
            if initialiser(call) not in CONSTANT or call.location in reported:
                continue
            hidden = {stage.layer.id for stage in architecture.hidden() if stage.layer is not None}
            layers = [
                layer
                for layer in initialised.layers
                if layer.id in hidden and not _by_design(call, architecture, layer)
            ]
            if not layers:
                continue
            reported.add(call.location)
            kind = layers[0].cls.rpartition(".")[2]
            yield self.finding(
                call.location,
                f"{initialiser(call)} makes all units of a hidden {kind} identical, so they "
                "receive the same gradient and cannot learn different features",
                help="draw the weights at random, for example with nn.init.kaiming_normal_; "
                "only biases and normalisation layers start at a constant",
                fix=self.repair(
                    "draw the weights at random",
                    initialisation_edits.initialise_by(program, call, "kaiming_normal_"),
                ),
                evidence=(
                    Evidence(
                        "static", f"{len(layers)} hidden layer(s) of {architecture.model.cls}"
                    ),
                ),
            )


def _is_zero(call: Initialisation) -> bool:
    if initialiser(call) in ("zeros_", "zero_"):
        return True
    return any(value.number == 0.0 for value in call.args.values())


def _by_design(call: Initialisation, architecture: Architecture, layer: Object) -> bool:
    """Whether the layer is called like one that is meant to start at zero."""
    if not _is_zero(call):
        return False
    names = (*layer.names, *_paths(architecture, layer))
    return any(word in name.lower() for name in names for word in ZERO_BY_DESIGN)


def _paths(architecture: Architecture, layer: Object) -> Iterator[str]:
    """The attribute names the layer is registered under."""
    for owner in architecture.owners():
        for name, number in owner.children.items():
            if number == layer.id:
                yield name
