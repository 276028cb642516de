"""INI014: SELU without what makes it self-normalising."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Confidence, Evidence, Finding, Fix, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits, initialisation_edits
from convlint.rules.patterns.applied import is_batch_norm
from convlint.rules.patterns.initialisations import (
    final_initialisations,
    initialiser,
    untouched,
)
from convlint.rules.patterns.layers import (
    Architecture,
    canonical,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Edit
    from convlint.program.facts import (
        TrainingProgram,
    )
    from convlint.rules import Changes

FEWEST_HIDDEN = 3
"""The effect multiplies per layer; two layers show little of it."""
PLAIN_DROPOUT = frozenset({"dropout", "dropout1d", "dropout2d"})


class SeluWithoutLecun(Rule):
    """A SELU network lacks the initialisation or the dropout that SELU needs.

    ## What it does
    Reports a stack of three or more hidden layers with SELU whose weights keep the library's
    default initialisation or are initialised for rectifiers (`kaiming_normal_`), or that has plain
    dropout or batch normalisation between.

    ## Why it hurts
    Activations keep mean 0 and variance 1 only with weights of variance 1 / n (LeCun normal) and
    alpha dropout. The default initialisation of `nn.Linear` has a third of that variance, plain
    dropout shifts the mean, and with batch normalisation SELU has no purpose.

    ## Example
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(64, 64), nn.SELU(),
            nn.Linear(64, 64), nn.SELU(),
            nn.Linear(64, 64), nn.SELU(),
            nn.Linear(64, 2))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## Use instead
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(64, 64), nn.SELU(),
            nn.Linear(64, 64), nn.SELU(),
            nn.Linear(64, 64), nn.SELU(),
            nn.Linear(64, 2))
        for module in model.modules():
            if isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity='linear')
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## When it is fine
    Fewer than three hidden layers; any other initialisation of one's own.

    ## Measured
    `convlint probe` measures the gradient that reaches the first layers.

    ## References
    - Klambauer et al., Self-normalizing neural networks, NeurIPS 2017
    """

    code, slug, severity = "INI014", "selu-without-lecun", Severity.WARNING
    fix = Applicability.UNSAFE
    confidence = Confidence.MEDIUM
    confirmed_by = ("vanishing-gradient",)

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per model."""
        used = {flow.op for flow in program.flows} | {canonical(o.cls) for o in program.objects}
        if "selu" not in used:
            return
        for model in program.models:
            architecture = Architecture(program, model)
            if "selu" not in architecture.ops or not architecture.known:
                continue
            run = architecture.longest_run(frozenset({"selu"}))
            if len(run) < FEWEST_HIDDEN:
                continue
            fix: Fix | None = None
            if any(is_batch_norm(layer) for layer in architecture.layers):
                lacks, help = "batch normalisation undoes it", "drop the normalisation, or use ReLU"
            elif architecture.ops & PLAIN_DROPOUT:
                lacks, help = "plain dropout shifts the mean it keeps", "use nn.AlphaDropout"
                fix = self.repair("use AlphaDropout", _alpha_dropout(program, architecture))
            elif untouched(program, architecture):
                lacks = (
                    "the weights keep the default initialisation, a third of the variance it needs"
                )
                help = 'initialise with kaiming_normal_(weight, nonlinearity="linear")'
                layers = [stage.layer for stage in run if stage.layer is not None]
                fix = self.repair(
                    "initialise the weights for SELU",
                    initialisation_edits.initialise_all(program, model.location, layers, "linear"),
                )
            elif _too_wide(program, {stage.layer.id for stage in run if stage.layer is not None}):
                lacks = "Kaiming initialisation gives the weights twice the variance it needs"
                help = 'pass nonlinearity="linear" to the initialisation'
            else:
                continue
            yield self.finding(
                model.location,
                f"{len(run)} layers with SELU do not normalise themselves: {lacks}",
                help=help,
                fix=fix,
                evidence=(Evidence("static", f"{len(run)} SELU layers in a row"),),
            )


def _too_wide(program: TrainingProgram, layers: set[int]) -> bool:
    """Whether the weights of these layers are initialised for rectifiers, with a gain of sqrt(2)."""
    for initialised in final_initialisations(program):
        call = initialised.call
        if not initialiser(call).startswith("kaiming_"):
            continue
        slope, kind = call.args.get("a"), call.args.get("nonlinearity")
        if slope is not None and slope.number != 0:
            continue
        if kind is not None and kind.constant not in ("relu", "leaky_relu"):
            continue
        if layers & {layer.id for layer in initialised.layers}:
            return True
    return False


def _alpha_dropout(program: TrainingProgram, architecture: Architecture) -> Changes:
    changes: dict[Edit, None] = {}
    for layer in architecture.layers:
        if layer.cls != "torch.nn.Dropout":
            continue
        call = edits.call_at(program, layer.location)
        if call is None or call.method != "Dropout":
            return None
        renamed = edits.rename_last_part(program, layer.location, "AlphaDropout")
        changes.update(dict.fromkeys(renamed or ()))
    return tuple(changes) or None
