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
    from convlint.program.facts import Initialisation, Object, TrainingProgram
    from convlint.rules import Changes

FEWEST_HIDDEN = 3
"""The effect multiplies per layer; two layers show little of it."""
FAR_TOO_WIDE = 1.8
"""Kaiming's factor is 2; SELU still draws the variances of deep stacks together below about 1.8."""
PLAIN_DROPOUT = frozenset({"dropout", "dropout1d", "dropout2d"})


class SeluWithoutLecun(Rule):
    """A SELU network lacks the initialisation or the dropout that SELU needs.

    ## What it does
    Reports a stack of three or more hidden layers with SELU whose weights keep the library's
    default initialisation or are given twice the variance it needs (as `kaiming_normal_` does for
    rectifiers), or that has plain dropout or batch normalisation between.

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
    Fewer than three hidden layers; any other initialisation of one's own, up to 1.8 times that variance.

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
            elif excess := _excess(
                program, {stage.layer.id for stage in run if stage.layer is not None}
            ):
                lacks = f"the weights are given {excess:.2g} times the variance it needs"
                help = (
                    'initialise with kaiming_normal_(weight, nonlinearity="linear"), whose variance '
                    "is one over the number of inputs"
                )
            else:
                continue
            yield self.finding(
                model.location,
                f"{len(run)} layers with SELU do not normalise themselves: {lacks}",
                help=help,
                fix=fix,
                evidence=(Evidence("static", f"{len(run)} SELU layers in a row"),),
            )


def _excess(program: TrainingProgram, layers: set[int]) -> float | None:
    """By what factor the weights of one of these layers are given more variance than one over the
    number of inputs; None where none is given much more."""
    for initialised in final_initialisations(program):
        for layer in initialised.layers:
            if layer.id in layers:
                factor = _variance_factor(initialised.call, layer)
                if factor is not None and factor >= FAR_TOO_WIDE:
                    return factor
    return None


def _variance_factor(call: Initialisation, layer: Object) -> float | None:
    """The variance this call gives the weights, times their inputs; None when not known."""
    name = initialiser(call)
    given = {key: value.number for key, value in call.args.items()}
    if name.startswith("kaiming_"):
        kind, slope = call.args.get("nonlinearity"), given.get("a", 0.0)
        if slope != 0 or (kind is not None and kind.constant not in ("relu", "leaky_relu")):
            return None
        return 2.0
    inputs, outputs = (layer.args.get(size) for size in ("in_features", "out_features"))
    fan_in = inputs.number if inputs is not None else None
    fan_out = outputs.number if outputs is not None else None
    gain, std = given.get("gain", 1.0), given.get("std")
    if name.startswith("xavier_") and gain and fan_in and fan_out:
        return gain**2 * 2 * fan_in / (fan_in + fan_out)
    if name == "normal_" and std and fan_in:
        return std**2 * fan_in
    return None


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
