"""NRM008: a layer made anew at every call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import (
    Confidence,
    Evidence,
    Finding,
    Severity,
)
from convlint.program.facts import ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns.flows import (
    one_per_place,
)
from convlint.rules.patterns.forwards import (
    in_forward,
)
from convlint.rules.patterns.layers import (
    canonical,
    is_normalisation,
    is_recurrent,
    is_weight_layer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import (
        Object,
        TrainingProgram,
    )


class LayerCreatedInForward(Rule):
    """A layer with weights is created inside `forward`.

    ## What it does
    Reports a linear, convolutional, normalisation, embedding or recurrent layer that is
    constructed in `forward` (or in something it calls) and applied there. A layer kept for the
    next call (`if self.proj is None`) is a warning of lower confidence.

    ## Why it hurts
    Every call starts with fresh random weights. The optimizer was built before they existed and
    never sees them, so nothing of the layer is ever learned, and evaluation is a lottery.

    ## Example
        import torch
        from torch import nn

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc = nn.Linear(20, 64)

            def forward(self, x):
                x = torch.relu(self.fc(x))
                return nn.Linear(64, 2)(x)

        model = Net()
        optimizer = torch.optim.Adam(model.parameters())

    ## Use instead
        import torch
        from torch import nn

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc = nn.Linear(20, 64)
                self.head = nn.Linear(64, 2)

            def forward(self, x):
                x = torch.relu(self.fc(x))
                return self.head(x)

        model = Net()
        optimizer = torch.optim.Adam(model.parameters())

    ## When it is fine
    Layers without parameters (`nn.ReLU()(x)`, `nn.BatchNorm2d(c, affine=False)`); a lazily built
    layer when the optimizer is made after the first call.

    ## Measured
    Not measured: the layer is gone after the call.

    ## References
    - PyTorch, `torch.nn.Module`: assign submodules in the constructor
    """

    code, slug, severity = "NRM008", "layer-created-in-forward", Severity.ERROR
    unmeasured_because = "it is a matter of structure, which the probe does not measure"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per construction."""
        applied = {flow.layer for flow in program.flows}
        initialised = {number for call in program.initialisations for number in call.layers}
        reported: set[Location] = set()
        for layer in program.objects:
            if (
                layer.kind is not ObjectKind.LAYER
                or layer.id not in applied
                or not in_forward(layer)
            ):
                continue
            if not _has_weights(layer) or layer.id in initialised:
                continue
            kept = any(name.startswith("self.") for name in layer.names)
            if kept and not layer.conditions:
                kept = False
            if not one_per_place(reported, layer.location):
                continue
            name = layer.cls.rpartition(".")[2]
            yield self.finding(
                layer.location,
                f"this {name} is built on the first call, after the optimizer was given its parameters"
                if kept
                else f"every call of forward makes a new {name} with random weights that no optimizer "
                "ever updates",
                help="create the layer in `__init__`"
                + (
                    ", use `nn.LazyLinear`, or build the optimizer after a first call"
                    if kept
                    else ""
                ),
                severity=Severity.WARNING if kept else None,
                confidence=Confidence.LOW if kept else None,
                evidence=(Evidence("static", f"constructed within {layer.within[-1]}"),),
            )


def _has_weights(layer: Object) -> bool:
    op = canonical(layer.cls)
    affine = layer.args.get("affine") or layer.args.get("elementwise_affine")
    if is_normalisation(op):
        # Without an argument that says so, a normalisation may well have no parameters.
        return affine is not None and affine.constant is True
    return is_weight_layer(op) or is_recurrent(op) or op in ("embedding", "embedding_bag", "prelu")
