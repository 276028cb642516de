"""OPT011: layers registered after the optimizer was built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Finding, Related, Severity
from convlint.program.facts import ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns import statement_edits
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.layers import (
    canonical,
    is_attention,
    is_normalisation,
    is_recurrent,
    is_weight_layer,
)
from convlint.rules.patterns.ownership import name_of, object_of, submodules
from convlint.rules.patterns.training_loops import training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import Object, TrainingProgram


class OptimizerBeforeParamsChange(Rule):
    """A layer is put into the model after the optimizer was built, and is never trained.

    ## What it does
    Reports a layer assigned into a model (or its parts replaced) after the optimizer took the
    model's parameters, before the loop that steps it, when no later optimizer or parameter group
    takes the new ones.

    ## Why it hurts
    The optimizer keeps the parameters it was given. The new layer stays at its random initial
    weights, and the replaced one is trained for nothing.

    ## Example
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model[2] = nn.Linear(16, 2)
        x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
        for epoch in range(20):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()

    ## Use instead
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        model[2] = nn.Linear(16, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
        for epoch in range(20):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()

    ## When it is fine
    `.to(device)`, wrapping for distributed training, an optimizer built again, `add_param_group`,
    layers that take no parameters.

    ## Measured
    `convlint probe` lists parameters that receive gradients and are in no optimizer.

    ## References
    - PyTorch, `torch.optim`
    """

    code, slug, severity = "OPT011", "optimizer-before-params-change", Severity.ERROR
    fix = Applicability.UNSAFE
    confirmed_by = ("parameter-not-optimized",)

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report layers younger than the optimizer that should train them."""
        places: set[Location] = set()
        stepped = {number for loop in training_loops(program) for number in loop.optimizers}
        for number in sorted(stepped):
            optimizer = object_of(program, number)
            if optimizer is None or optimizer.kind is not ObjectKind.OPTIMIZER:
                continue
            if not optimizer.parameters_of or optimizer.escaped or optimizer.conditions:
                continue
            late = [m for m in submodules(program, optimizer.parameters_of) if m > optimizer.id]
            later = _taken_later(program, optimizer)
            for module in sorted(late):
                layer = object_of(program, module)
                if layer is None or module in later or layer.conditions or not _trainable(layer):
                    continue
                if layer.context != optimizer.context or layer.within != optimizer.within:
                    continue  # in a loop, or in another function: the order is not certain
                if one_per_place(places, layer.location):
                    name = name_of(optimizer, "the optimizer")
                    yield self.finding(
                        layer.location,
                        f"this layer is made after `{name}` took the model's parameters: it is never "
                        "trained",
                        help=f"build `{name}` after the model is complete",
                        related=(Related(optimizer.location, "parameters taken here"),),
                        fix=self.repair(
                            "build the optimizer after the model is complete",
                            statement_edits.move_later(program, optimizer.location, layer.location),
                        ),
                    )


def _taken_later(program: TrainingProgram, optimizer: Object) -> set[int]:
    """Modules whose parameters an optimizer built later has."""
    found: set[int] = set()
    for other in program.objects:
        if other.kind is ObjectKind.OPTIMIZER and other.id > optimizer.id:
            found |= submodules(program, other.parameters_of or ())
            if other.parameters_of is None:
                found |= submodules(program, optimizer.parameters_of or ())
    return found


def _trainable(layer: Object) -> bool:
    op = canonical(layer.cls)
    return (
        is_weight_layer(op)
        or is_normalisation(op)
        or is_recurrent(op)
        or is_attention(op)
        or op == "embedding"
    )
