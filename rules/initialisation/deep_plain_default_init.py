"""INI010: a deep plain network at PyTorch's default initialisation."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from convlint.findings import Applicability, Confidence, Evidence, Finding, Severity
from convlint.lazy_regex import lazy_regex
from convlint.rule_options import Option
from convlint.rules import Rule
from convlint.rules.patterns import initialisation_edits
from convlint.rules.patterns.initialisations import unbuilt, untouched
from convlint.rules.patterns.layers import RECTIFIER_OPS, Architecture
from convlint.rules.patterns.ownership import object_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import Object, TrainingProgram

DEEP = 8
"""Layers in a row. PyTorch's default (Kaiming uniform with a = sqrt(5)) passes a sixth of the
variance per ReLU layer: after 8 the signal is down to 8e-4 of its size, after 20 to 2e-8, while the
biases keep theirs, so the output no longer depends on the input."""
VARIANCE_PER_LAYER = 1 / 6
_SETS_WEIGHTS = lazy_regex(r"^_?(?:re)?(?:init|load|copy|reset_param)", re.IGNORECASE)


class DeepPlainDefaultInit(Rule):
    """Eight or more plain ReLU layers in a row keep PyTorch's default initialisation.

    ## What it does
    Reports a straight line of at least eight linear or convolutional layers followed by ReLU, in
    a model without normalisation, skip connections or any initialisation of its weights.

    ## Why it hurts
    The default initialisation of `nn.Linear` and `nn.Conv2d` has variance 1 / (3 fan_in), a sixth
    of what ReLU needs. Signal and gradient shrink by 0.41 per layer: at depth 20 the output hardly
    depends on the input, and the loss sits on the plateau of the constant prediction.

    ## Example
        import torch
        from torch import nn

        model = nn.Sequential(
            nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(),
            nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(),
            nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(),
            nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(),
            nn.Linear(64, 2),
        )
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## Use instead
        import torch
        from torch import nn

        model = nn.Sequential(
            nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(),
            nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(),
            nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(),
            nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(),
            nn.Linear(64, 2),
        )
        for module in model.modules():
            if isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## When it is fine
    Normalisation, skip connections, any initialisation, pretrained weights, fewer layers, a model
    of which a method is called whose name says that it sets or loads weights, a file that only
    defines the class, which other code builds and may initialise.

    ## Measured
    `convlint probe` measures the gradient that reaches the first layers.

    ## References
    - He et al., Delving deep into rectifiers, ICCV 2015
    - PyTorch, `torch.nn.Linear.reset_parameters`
    """

    code, slug, severity = "INI010", "deep-plain-default-init", Severity.WARNING
    fix = Applicability.UNSAFE
    confidence = Confidence.MEDIUM
    confirmed_by = ("vanishing-gradient",)

    layers = Option(DEEP, "The number of layers in a row from which on it is reported.", least=2)

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per deep plain network, at its first layer."""
        reported: set[Location] = set()
        elsewhere = unbuilt(program)
        loads = any(call.name.endswith(("load_state_dict", ".load")) for call in program.calls)
        for model in program.models:
            architecture = Architecture(program, model)
            if loads or not architecture.plain or not untouched(program, architecture):
                continue
            if model.object in elsewhere or _initialises(object_of(program, model.object)):
                continue
            stack = architecture.longest_run(RECTIFIER_OPS)
            first = next((stage.layer for stage in stack if stage.layer is not None), None)
            if len(stack) < self.layers or first is None or first.location in reported:
                continue
            reported.add(first.location)
            kept = VARIANCE_PER_LAYER ** (len(stack) / 2)
            yield self.finding(
                first.location,
                f"{len(stack)} ReLU layers in a row keep PyTorch's default initialisation, which "
                f"passes {kept:.1g} of the signal through them",
                help="initialise with nn.init.kaiming_normal_(weight, nonlinearity='relu'), or add "
                "normalisation or skip connections",
                fix=self.repair(
                    "initialise the weights for ReLU",
                    initialisation_edits.initialise_all(
                        program,
                        model.location,
                        [stage.layer for stage in stack if stage.layer is not None],
                        "relu",
                    ),
                ),
                evidence=(
                    Evidence(
                        "static",
                        f"{model.cls}: {len(stack)} successive layers, no initialisation",
                        quantity="signal kept through the stack",
                        value=kept,
                        expected="about 1",
                    ),
                ),
            )


def _initialises(module: Object | None) -> bool:
    """Whether a method was called on it that by its name sets or loads its weights."""
    return module is not None and any(_SETS_WEIGHTS.search(name) for name in module.methods)
