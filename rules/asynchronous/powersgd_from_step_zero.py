"""ASY003: gradients compressed from the first step."""

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

EARLY = 10
"""The default is 1000; ten steps are no warm-up for any schedule."""


class PowersgdFromStepZero(Rule):
    """Gradient compression starts with the first step.

    ## What it does
    Reports `PowerSGDState` with `start_powerSGD_iter` below 10.

    ## Why it hurts
    The first gradients are the largest and the most full-rank, and the compressor has no good
    basis yet. PyTorch recommends to start after a tenth of the steps; below 2 it refuses error
    feedback and warm start.

    ## Example
        import torch
        from torch import nn
        from torch.distributed.algorithms.ddp_comm_hooks import powerSGD_hook
        from torch.nn.parallel import DistributedDataParallel

        model = DistributedDataParallel(nn.Linear(20, 2))
        state = powerSGD_hook.PowerSGDState(None, start_powerSGD_iter=2)
        model.register_comm_hook(state, powerSGD_hook.powerSGD_hook)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## Use instead
        import torch
        from torch import nn
        from torch.distributed.algorithms.ddp_comm_hooks import powerSGD_hook
        from torch.nn.parallel import DistributedDataParallel

        model = DistributedDataParallel(nn.Linear(20, 2))
        state = powerSGD_hook.PowerSGDState(None, start_powerSGD_iter=1000)
        model.register_comm_hook(state, powerSGD_hook.powerSGD_hook)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## When it is fine
    Fine-tuning from a converged model.

    ## Measured
    Not measured.

    ## References
    - PyTorch, `PowerSGDState`: start_powerSGD_iter
    - Vogels et al., PowerSGD, NeurIPS 2019
    """

    code, slug, severity = "ASY003", "powersgd-from-step-zero", Severity.WARNING
    fix = Applicability.UNSAFE
    unmeasured_because = "one process cannot see what the others do"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per state."""
        reported: set[Location] = set()
        for call in program.calls:
            if not call.name.endswith("powerSGD_hook.PowerSGDState"):
                continue

            start = call.args.get("start_powerSGD_iter")
            value = start.number if start is not None else None
            if (
                start is not None
                and value is not None
                and value < EARLY
                and one_per_place(reported, call.location)
            ):
                yield self.finding(
                    start.location or call.location,
                    f"compression starts at step {value:g}, while gradients are largest",
                    help="start after the warm-up, about a tenth of the steps",
                    fix=self.repair(
                        "start after 1,000 steps, as PyTorch does by itself",
                        edits.set_value(program, start, "1000"),
                    ),
                    evidence=(Evidence("static", f"start_powerSGD_iter is {value:g}"),),
                )
