"""NRM014: a layer nothing applies."""

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
    objects_by_id,
    one_per_place,
)
from convlint.rules.patterns.layers import (
    Architecture,
    canonical,
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

BY_ITERATION = frozenset(
    {
        "children", "named_children", "modules", "named_modules", "_modules", "__dict__",
        "__getattr__", "get_submodule", "__getattribute__",
    }
)  # fmt: skip
"""Ways to reach a layer without naming it."""


class UnusedLayer(Rule):
    """A layer is registered in the model and never used.

    ## What it does
    Reports a layer with weights that the constructor assigns to an attribute which no code of the
    file, or of the project files it imports, ever reads. Only for models that an optimizer in the
    file trains.

    ## Why it hurts
    Its parameters are listed, saved, decayed and synchronised, and learn nothing: with
    DistributedDataParallel the unused gradient even stops the run. Mostly it is the sign of
    another fault, such as a layer applied twice in place of its neighbour.

    ## Example
        import torch
        from torch import nn

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.first = nn.Linear(20, 64)
                self.second = nn.Linear(64, 64)
                self.head = nn.Linear(64, 2)

            def forward(self, x):
                x = torch.relu(self.first(x))
                return self.head(x)

        model = Net()
        optimizer = torch.optim.Adam(model.parameters())

    ## Use instead
        import torch
        from torch import nn

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.first = nn.Linear(20, 64)
                self.second = nn.Linear(64, 64)
                self.head = nn.Linear(64, 2)

            def forward(self, x):
                x = torch.relu(self.first(x))
                x = torch.relu(self.second(x))
                return self.head(x)

        model = Net()
        optimizer = torch.optim.Adam(model.parameters())

    ## When it is fine
    Layers reached by `children()`, `modules()` or `getattr`; base classes whose subclasses use the
    layer; layers without parameters.

    ## Measured
    `convlint probe` lists the parameters that never receive a gradient.

    ## References
    - PyTorch, `DistributedDataParallel`: find_unused_parameters
    """

    code, slug, severity = "NRM014", "unused-layer", Severity.WARNING
    confidence = Confidence.MEDIUM
    confirmed_by = ("parameter-without-gradient",)

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per attribute."""
        if program.attributes_read & BY_ITERATION:
            return
        objects = objects_by_id(program)
        applied = {flow.layer for flow in program.flows}
        trained = {n for item in program.objects for n in (item.parameters_of or ())}
        reported: set[Location] = set()
        for model in program.models:
            if model.object not in trained or not (model.forward_known and model.complete):
                continue
            for owner in Architecture(program, model).owners():
                if owner.kind is not ObjectKind.MODEL:
                    continue
                for name, number in owner.children.items():
                    layer = objects.get(number)
                    if layer is None or name in program.attributes_read or layer.id in applied:
                        continue
                    if not name.isidentifier() or f"self.{name}" not in layer.names:
                        continue
                    if not _has_weights(layer) or len(layer.names) > 1:
                        continue
                    if one_per_place(reported, layer.location):
                        yield self.finding(
                            layer.location,
                            f"`self.{name}` has weights and nothing ever applies it",
                            help="apply it in `forward`, or remove it",
                            evidence=(Evidence("static", f"`.{name}` is assigned and never read"),),
                        )


def _has_weights(layer: Object) -> bool:
    op = canonical(layer.cls)
    return is_weight_layer(op) or is_recurrent(op) or op == "embedding"
