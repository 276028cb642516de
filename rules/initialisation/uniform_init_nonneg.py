"""INI006: weights that are all positive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Evidence, Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits, initialisation_edits
from convlint.rules.patterns.initialisations import (
    final_initialisations,
    initialiser,
)
from convlint.rules.patterns.layers import (
    canonical,
    is_recurrent,
    is_weight_layer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import (
        Initialisation,
        Object,
        TrainingProgram,
    )
    from convlint.rules import Changes


class UniformInitNonneg(Rule):
    """Weights are drawn from a uniform distribution that has no negative values.

    ## What it does
    Reports `uniform_` with a lower bound of zero or more (the default is 0 to 1) on the weight of
    a linear, convolutional or recurrent layer.

    ## Why it hurts
    With weights of one sign every unit computes nearly the same sum of its inputs, so all units of
    a layer agree and their gradients do too; and the mean of the signal grows with the number of
    inputs at every layer.

    ## Example
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
        for module in model.modules():
            if isinstance(module, nn.Linear):
                nn.init.uniform_(module.weight)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## Use instead
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
        for module in model.modules():
            if isinstance(module, nn.Linear):
                nn.init.uniform_(module.weight, -0.1, 0.1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## When it is fine
    Gates, scales, biases, embeddings and parameters in log space.

    ## Measured
    `convlint probe` measures how activations grow through depth, and the initial loss.

    ## References
    - Glorot and Bengio, AISTATS 2010
    - PyTorch, `torch.nn.init.uniform_`: the bounds are 0 and 1 by default
    """

    code, slug, severity = "INI006", "uniform-init-nonneg", Severity.WARNING
    fix = Applicability.UNSAFE
    confirmed_by = ("exploding-gradient", "initial-loss-off", "saturated-activations")

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per call."""
        reported: set[Location] = set()
        for initialised in final_initialisations(program):
            call = initialised.call

            if initialiser(call) != "uniform_" or call.location in reported:
                continue
            low, high = (
                call.args.get("a", call.args.get("from")),
                call.args.get("b", call.args.get("to")),
            )
            bottom = low.number if low is not None else 0.0
            top = high.number if high is not None else 1.0
            layers = [layer for layer in initialised.layers if _judged(layer)]
            if not layers or bottom is None or top is None or not 0 <= bottom < top:
                continue
            reported.add(call.location)
            yield self.finding(
                call.location,
                f"the weights are drawn from [{bottom:g}, {top:g}]: none is negative",
                help="use symmetric bounds, or nn.init.xavier_uniform_ / kaiming_uniform_",
                fix=self.repair("use symmetric bounds", _symmetric(program, call, top)),
                evidence=(
                    Evidence("static", f"lower bound {bottom:g} for {len(layers)} layer(s)"),
                ),
            )


def _judged(layer: Object) -> bool:
    op = canonical(layer.cls)
    return is_weight_layer(op) or is_recurrent(op)


def _symmetric(program: TrainingProgram, call: Initialisation, top: float) -> Changes:
    """Negate the upper bound where both are written; Xavier's bound where none is."""
    place = call.location
    is_function = initialisation_edits.is_function(program, place)
    written, layout = edits.call_at(program, place), program.layout(place)
    if written is None or layout is None:
        return None
    low = written.argument("a" if is_function else "from", 1 if is_function else 0)
    high = written.argument("b" if is_function else "to", 2 if is_function else 1)
    if low is None and high is None:
        return initialisation_edits.initialise_by(program, call, "xavier_uniform_")
    if (
        low is None
        or high is None
        or not (layout.literal(low.value) and layout.literal(high.value))
    ):
        return None
    return edits.replace(low.value, f"{-top:g}")
