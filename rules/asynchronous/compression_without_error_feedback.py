"""ASY002: compressed gradients whose error is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Confidence, Evidence, Finding, Severity
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


class CompressionWithoutErrorFeedback(Rule):
    """Gradients are compressed without error feedback.

    ## What it does
    Reports `PowerSGDState(use_error_feedback=False)`.

    ## Why it hurts
    What the compression leaves out is lost at every step, always in the same directions: the
    updates are biased, and training stalls away from the minimum. Error feedback adds the rest to
    the next gradient and restores the rate of SGD.

    ## Example
        import torch
        from torch import nn
        from torch.distributed.algorithms.ddp_comm_hooks import powerSGD_hook
        from torch.nn.parallel import DistributedDataParallel

        model = DistributedDataParallel(nn.Linear(20, 2))
        state = powerSGD_hook.PowerSGDState(None, use_error_feedback=False)
        model.register_comm_hook(state, powerSGD_hook.powerSGD_hook)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## Use instead
        import torch
        from torch import nn
        from torch.distributed.algorithms.ddp_comm_hooks import powerSGD_hook
        from torch.nn.parallel import DistributedDataParallel

        model = DistributedDataParallel(nn.Linear(20, 2))
        state = powerSGD_hook.PowerSGDState(None)
        model.register_comm_hook(state, powerSGD_hook.powerSGD_hook)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## When it is fine
    Unbiased compression such as random-k with scaling.

    ## Measured
    Not measured.

    ## References
    - Karimireddy et al., Error feedback fixes SignSGD, ICML 2019
    - PyTorch, `PowerSGDState`: use_error_feedback
    """

    code, slug, severity = "ASY002", "compression-without-error-feedback", Severity.WARNING
    confidence = Confidence.MEDIUM
    fix = Applicability.UNSAFE
    unmeasured_because = "one process cannot see what the others do"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per state."""
        reported: set[Location] = set()
        for call in program.calls:
            if not call.name.endswith("powerSGD_hook.PowerSGDState"):
                continue

            feedback = call.args.get("use_error_feedback")
            if (
                feedback is not None
                and feedback.constant is False
                and one_per_place(reported, call.location)
            ):
                yield self.finding(
                    feedback.location or call.location,
                    "what the compression leaves out of each gradient is lost",
                    help="leave use_error_feedback at True",
                    fix=self.repair(
                        "keep the error feedback", edits.set_value(program, feedback, "True")
                    ),
                    evidence=(Evidence("static", "use_error_feedback=False"),),
                )
