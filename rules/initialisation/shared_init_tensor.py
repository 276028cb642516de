"""INI013: layers that share one weight by accident."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from convlint.findings import (
    Confidence,
    Evidence,
    Finding,
    Related,
    Severity,
)
from convlint.lazy_regex import lazy_regex
from convlint.rules import Rule
from convlint.rules.patterns.flows import (
    FlowGraph,
)
from convlint.rules.patterns.layers import (
    canonical,
    is_weight_layer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.program.facts import (
        Object,
        TrainingProgram,
    )

TIED = lazy_regex(r"tie|share|lm_head|emb", re.IGNORECASE)


class SharedInitTensor(Rule):
    """Several layers are given the same weight tensor.

    ## What it does
    Reports one parameter assigned as the `weight` of two or more layers.

    ## Why it hurts
    The layers then are one layer: every update changes all of them, and the model has a fraction
    of the parameters it seems to have.

    ## Example
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 32))
        start = nn.Parameter(torch.randn(32, 32) * 0.1)
        for layer in model:
            if isinstance(layer, nn.Linear):
                layer.weight = start
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## Use instead
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 32))
        start = nn.Parameter(torch.randn(32, 32) * 0.1)
        for layer in model:
            if isinstance(layer, nn.Linear):
                layer.weight = nn.Parameter(start.detach().clone())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## When it is fine
    Weight tying by design (input and output embeddings, shared towers), which names usually say.

    ## Measured
    Not measured.

    ## References
    - Press and Wolf, Using the output embedding to improve language models, EACL 2017
    """

    code, slug, severity = "INI013", "shared-init-tensor", Severity.WARNING
    default = False
    confidence = Confidence.MEDIUM
    unmeasured_because = "it is a matter of structure, which the probe does not measure"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per shared tensor, at the second layer."""
        graph = FlowGraph(program)
        holders: dict[int, list[Object]] = {}
        for layer in program.objects:
            weight = layer.attributes.get("weight")
            if (
                weight is not None
                and weight.flow is not None
                and is_weight_layer(canonical(layer.cls))
            ):
                holders.setdefault(weight.flow, []).append(layer)
        for number, layers in holders.items():
            flow = graph.get(number)
            if flow is None or flow.op != "<parameter>" or len(layers) < 2:
                continue
            if any(TIED.search(name) for layer in layers for name in _names(program, layer)):
                continue
            yield self.finding(
                layers[1].location,
                f"{len(layers)} layers share one weight tensor",
                help="give each layer a copy: `nn.Parameter(start.detach().clone())`",
                related=(Related(layers[0].location, "the first of them"),),
                evidence=(Evidence("static", f"the same parameter in {len(layers)} layers"),),
            )


def _names(program: TrainingProgram, layer: Object) -> Iterator[str]:
    """The names of a layer, and those of the containers that hold it."""
    yield from layer.names
    for holder in program.objects:
        if layer.id in holder.children.values():
            yield from holder.names
