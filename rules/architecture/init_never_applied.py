"""NRM021: an initialisation nobody calls."""

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

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.program.facts import (
        TrainingProgram,
    )

PLAIN_BASES = frozenset({"torch.nn.Module", "builtins.object"})


class InitNeverApplied(Rule):
    """An initialisation is defined and never applied.

    ## What it does
    Reports a function or method that sets initial weights and whose name occurs nowhere else, in a
    file that trains a model.

    ## Why it hurts
    The model starts from the library's default, not from the initialisation that somebody thought
    necessary.

    ## Example
        import torch
        from torch import nn

        def init_weights(module):
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)

        model = nn.Sequential(nn.Linear(20, 64), nn.Tanh(), nn.Linear(64, 2))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## Use instead
        import torch
        from torch import nn

        def init_weights(module):
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)

        model = nn.Sequential(nn.Linear(20, 64), nn.Tanh(), nn.Linear(64, 2))
        model.apply(init_weights)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## When it is fine
    Functions other files import: only files that build an optimizer themselves are judged. Hooks
    that a base class of a library calls.

    ## Measured
    Not measured.

    ## References
    - PyTorch, `torch.nn.Module.apply`
    """

    code, slug, severity = "NRM021", "init-never-applied", Severity.WARNING
    confidence = Confidence.MEDIUM
    unmeasured_because = "it is a matter of structure, which the probe does not measure"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per function."""
        if not any(item.kind is ObjectKind.OPTIMIZER for item in program.objects):
            return
        hooked = {
            item.cls.rpartition(".")[2]
            for item in program.objects
            if any(base not in PLAIN_BASES for base in item.bases)
        }
        never = set(program.unreferenced)
        reported: set[str] = set()
        for call in program.initialisations:
            name = call.within[-1] if call.within else ""
            owner = name.rpartition(".")[0]
            if name not in never or name in reported or len(call.within) != 1 or owner in hooked:
                continue
            if name.rpartition(".")[2] == "forward":
                continue
            reported.add(name)
            yield self.finding(
                call.location,
                f"{name}() sets initial weights and is never called",
                help="call it after the model is built, or `model.apply(...)` it",
                evidence=(Evidence("static", f"{name} is named only where it is defined"),),
            )
