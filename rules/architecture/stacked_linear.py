"""NRM003: two linear layers with nothing between."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from convlint.findings import (
    Evidence,
    Finding,
    Related,
    Severity,
)
from convlint.lazy_regex import lazy_regex
from convlint.rules import Rule
from convlint.rules.patterns.applied import successive
from convlint.rules.patterns.flows import (
    FlowGraph,
    one_per_place,
)
from convlint.rules.patterns.layers import (
    canonical,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import (
        Object,
        TrainingProgram,
    )

LOW_RANK = 0.5
"""A middle width below this share of both sides is a factorisation, which saves parameters."""
DELIBERATE = lazy_regex(
    r"proj|lora|adapt|rank|embed|emb\b|factor|bottleneck|latent|code|reduc|compress|mu\b|mean|logvar|gate|query|key|value",
    re.IGNORECASE,
)
"""Names of layers that are meant to be linear maps between spaces."""


class StackedLinear(Rule):
    """A linear layer is applied directly to the output of another one.

    ## What it does
    Reports two `nn.Linear` in a row without an activation between them, unless the first one is a
    bottleneck.

    ## Why it hurts
    The product of two matrices is one matrix: the pair can represent nothing that a single layer
    could not, is harder to train (the loss is no longer convex in its weights, even for least
    squares) and costs more. Usually an activation was forgotten.

    ## Example
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(20, 64), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## Use instead
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## When it is fine
    A low-rank factorisation: the width in the middle is less than half of the smaller side. Layers
    named after a projection, an adapter or an embedding.

    ## Measured
    Not measured.

    ## References
    - Nikanjam et al., Automatic fault detection for deep learning programs using graph
      transformations, 2021
    """

    code, slug, severity = "NRM003", "stacked-linear", Severity.WARNING
    unmeasured_because = "it is a matter of structure, which the probe does not measure"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per layer, where it is made."""
        reported: set[Location] = set()
        slots = _around_identities(program)
        shared = _shared(program)
        for first, second in successive(program):
            if not _at_fault(first, second) or (first.id, second.id) in slots:
                continue
            if first.location in shared:
                continue
            if not one_per_place(reported, first.location):
                continue
            yield self.finding(
                first.location,
                "this linear layer feeds another linear layer with no activation between: together they "
                "are one linear layer",
                help="put an activation between them, or keep one of the two",
                related=(Related(second.location, "the second linear layer"),),
                evidence=(Evidence("static", "Linear, then Linear, nothing between"),),
            )


def _shared(program: TrainingProgram) -> set[Location]:
    """Where linear layers are made of which some feed more than one operation.

    The last of several blocks may feed the head alone; the others feed the next block as well.
    """
    graph = FlowGraph(program)
    several = {
        flow.layer
        for flow in program.flows
        if flow.layer is not None and flow.op == "linear" and len(graph.users(flow)) > 1
    }
    return {item.location for item in program.objects if item.id in several}


def _around_identities(program: TrainingProgram) -> set[tuple[int, int]]:
    """The layers on the two sides of each Identity, the place of an activation that may be set."""
    identities = {item.id for item in program.objects if item.cls == "torch.nn.Identity"}
    return {
        (before, after)
        for model in program.models
        for before, between, after in zip(
            model.layers, model.layers[1:], model.layers[2:], strict=False
        )
        if between in identities
    }


def _at_fault(first: Object, second: Object) -> bool:
    if (
        canonical(first.cls) != "linear"
        or canonical(second.cls) != "linear"
        or first.id == second.id
    ):
        return False
    if any(DELIBERATE.search(name) for name in (*first.names, *second.names)):
        return False
    middle = first.args.get("out_features")
    sides = (first.args.get("in_features"), second.args.get("out_features"))
    if middle is None:
        return False
    if middle.object is not None:
        return any(side is not None and side.object == middle.object for side in sides)
    sizes = [side.number for side in sides if side is not None and side.number is not None]
    width = middle.number
    return width is not None and len(sizes) == len(sides) and width >= LOW_RANK * min(sizes)
