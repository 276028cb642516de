"""INI012: initialisers of old names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Evidence, Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.flows import (
    one_per_place,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import (
        TrainingProgram,
    )

DEPRECATED = frozenset(
    {
        "uniform", "normal", "constant", "eye", "dirac", "xavier_uniform", "xavier_normal",
        "kaiming_uniform", "kaiming_normal", "orthogonal", "sparse",
    }
)  # fmt: skip


class DeprecatedInit(Rule):
    """A deprecated initialiser is used.

    ## What it does
    Reports `nn.init.xavier_uniform` and its siblings without the trailing underscore.

    ## Why it hurts
    They only forward to the function with the underscore, warn on every call, and will be removed.

    ## Example
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
        for module in model.modules():
            if isinstance(module, nn.Linear):
                nn.init.kaiming_normal(module.weight)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## Use instead
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
        for module in model.modules():
            if isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## When it is fine
    With a version of PyTorch from before 2018.

    ## Measured
    Not measured.

    ## References
    - PyTorch, `torch.nn.init`
    """

    code, slug, severity = "INI012", "deprecated-init", Severity.INFO
    fix = Applicability.SAFE
    unmeasured_because = "it is a matter of structure, which the probe does not measure"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per call."""
        reported: set[Location] = set()
        for call in program.calls:
            name = call.name.removeprefix("torch.nn.init.")
            if name in DEPRECATED and name != call.name and one_per_place(reported, call.location):
                yield self.finding(
                    call.location,
                    f"nn.init.{name} is deprecated",
                    help=f"use nn.init.{name}_",
                    fix=self.repair(
                        "use the new name",
                        edits.rename_last_part(program, call.location, f"{name}_"),
                    ),
                    evidence=(Evidence("static", call.name),),
                )
