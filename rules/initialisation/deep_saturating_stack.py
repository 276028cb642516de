"""INI011: many saturating layers in a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Confidence, Evidence, Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns.initialisations import final_initialisations, initialiser
from convlint.rules.patterns.layers import SATURATING_OPS, Architecture

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram
    from convlint.rules.patterns.layers import Stage

DEEP = 4
"""Hidden layers in a row. A sigmoid passes at most a quarter of the gradient, so four pass less
than 0.4 %; a tanh stack at default initialisation loses about as much by its fourth layer."""

UNIT_SLOPE = frozenset({"tanh", "softsign"})
"""Steep enough at zero that weights of the right scale keep the gradient; a sigmoid is not."""
SCALE_KEEPING = ("xavier_", "kaiming_", "orthogonal_")
"""Initialisers that keep a tanh stack's gradient: of ten layers 0.49 arrives under Xavier with
gain 1, more with the gain of tanh."""


class DeepSaturatingStack(Rule):
    """Four or more hidden layers in a row end in a sigmoid or tanh, with no normalisation.

    ## What it does
    Reports a straight line of at least four hidden linear or convolutional layers, each followed
    by a saturating activation, in a model without normalisation or skip connections.

    ## Why it hurts
    The derivative of the sigmoid is at most 1/4, and away from zero both sigmoid and tanh are
    flat. The gradient is multiplied by that derivative once per layer, so the first layers of the
    stack hardly learn.

    ## Example
        import torch
        from torch import nn

        model = nn.Sequential(
            nn.Linear(20, 64), nn.Sigmoid(),
            nn.Linear(64, 64), nn.Sigmoid(),
            nn.Linear(64, 64), nn.Sigmoid(),
            nn.Linear(64, 64), nn.Sigmoid(),
            nn.Linear(64, 2),
        )
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
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## When it is fine
    Gates and recurrent cells, attention, normalisation in between, skip connections, a saturating
    activation on the output alone; tanh where every layer is initialised by Xavier, Kaiming or an
    orthogonal matrix.

    ## Measured
    `convlint probe` measures the gradient that reaches the first layers and the share of
    saturated units.

    ## References
    - Glorot and Bengio, Understanding the difficulty of training deep feedforward neural
      networks, AISTATS 2010
    """

    code, slug, severity = "INI011", "deep-saturating-stack", Severity.WARNING
    confidence = Confidence.MEDIUM
    confirmed_by = ("vanishing-gradient", "saturated-activations")

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per model with such a stack, at its first layer."""
        reported: set[Location] = set()
        prepared = {
            layer.id
            for initialised in final_initialisations(program)
            if initialiser(initialised.call).startswith(SCALE_KEEPING)
            for layer in initialised.layers
        }
        for model in program.models:
            stack = saturating_stack(Architecture(program, model))
            if len(stack) < DEEP or _keeps_gradient(stack, prepared):
                continue
            first = next((s.layer for s in stack if s.layer is not None), None)
            location = first.location if first is not None else model.location
            if location in reported:
                continue
            reported.add(location)
            activation = stack[0].activation
            yield self.finding(
                location,
                f"{len(stack)} hidden layers in a row end in {activation} without normalisation: "
                "the gradient shrinks at each of them, and the first ones hardly learn",
                help="use a ReLU-family activation, or put a normalisation layer before each "
                "activation",
                evidence=(
                    Evidence(
                        "static",
                        f"{model.cls}: {len(stack)} successive layers followed by {activation}",
                        quantity="saturating layers in a row",
                        value=float(len(stack)),
                        expected=f"fewer than {DEEP}",
                    ),
                ),
            )


def _keeps_gradient(stack: tuple[Stage, ...], prepared: set[int]) -> bool:
    """Whether every layer was given weights under which its activation passes the gradient on."""
    return all(
        stage.activation in UNIT_SLOPE and stage.layer is not None and stage.layer.id in prepared
        for stage in stack
    )


def saturating_stack(architecture: Architecture) -> tuple[Stage, ...]:
    """The longest straight line of hidden layers followed by a saturating activation, in a model
    that is known to have nothing else; empty otherwise."""
    if not architecture.plain:
        return ()
    return tuple(
        stage for stage in architecture.longest_run(SATURATING_OPS) if stage.next_stage is not None
    )
