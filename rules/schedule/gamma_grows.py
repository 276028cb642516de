"""SCH007: a decay factor that makes the learning rate grow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Evidence, Finding, Severity
from convlint.program.facts import ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns.courses import scheduler_class

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram

FACTORS = {
    "StepLR": "gamma",
    "MultiStepLR": "gamma",
    "ExponentialLR": "gamma",
    "ReduceLROnPlateau": "factor",
}
"""The argument each scheduler multiplies the rate by."""


class GammaGrows(Rule):
    """A decaying schedule multiplies the learning rate by more than one.

    ## What it does
    Reports `StepLR`, `MultiStepLR` and `ExponentialLR` with `gamma` above 1, and
    `ReduceLROnPlateau` with `factor` of 1 or more. A gamma of exactly 1 is a note.

    ## Why it hurts
    The rate grows geometrically and leaves the stable range after a few decays: training diverges.
    `ReduceLROnPlateau` raises a ValueError.

    ## Example
        import torch
        from torch import nn

        model = nn.Linear(10, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=10, gamma=10.0)

    ## Use instead
        import torch
        from torch import nn

        model = nn.Linear(10, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=10, gamma=0.1)

    ## When it is fine
    A learning-rate range test raises the rate on purpose; a gamma of 1 keeps it constant.

    ## Measured
    `convlint probe` watches the loss and the update sizes over the run.

    ## References
    - PyTorch, `torch.optim.lr_scheduler.StepLR`
    """

    code, slug, severity = "SCH007", "gamma-grows", Severity.ERROR
    unmeasured_because = "the rate grows only after the steps the probe runs"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per scheduler whose factor is not below one."""
        reported: set[Location] = set()
        for scheduler in program.objects:
            if scheduler.kind is not ObjectKind.SCHEDULER or scheduler.location in reported:
                continue
            name = scheduler_class(scheduler)
            argument = FACTORS.get(name)
            value = scheduler.args.get(argument) if argument is not None else None
            factor = value.number if value is not None else None
            if factor is None or factor < 1.0 or _is_range_test(scheduler.names):
                continue
            reported.add(scheduler.location)
            constant = factor == 1.0 and name != "ReduceLROnPlateau"
            yield self.finding(
                scheduler.location,
                f"{name} with {argument}={factor:g} "
                + ("never changes the learning rate" if constant else "raises the learning rate"),
                help=f"choose {argument} between 0 and 1",
                severity=Severity.INFO if constant else Severity.ERROR,
                evidence=(
                    Evidence(
                        "static",
                        f"{argument} is {factor:g}",
                        quantity=argument or "",
                        value=factor,
                        expected="below 1",
                    ),
                ),
            )


def _is_range_test(names: tuple[str, ...]) -> bool:
    return any(word in name.lower() for name in names for word in ("find", "range", "warm"))
