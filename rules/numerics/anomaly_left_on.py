"""NUM012: anomaly detection left on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Finding
    from convlint.program.facts import TrainingProgram

SWITCH = "torch.autograd.set_detect_anomaly"


class AnomalyLeftOn(Rule):
    """Anomaly detection is switched on for the whole run.

    ## What it does
    Reports `torch.autograd.set_detect_anomaly(True)` outside every condition.

    ## Why it hurts
    It checks every gradient for NaN and keeps a trace for every operation: a step takes several times as
    long. It is for finding a fault, not for training.

    ## Example
        import torch

        torch.autograd.set_detect_anomaly(True)
        model = torch.nn.Linear(2, 1)

    ## Use instead
        import sys

        import torch

        torch.autograd.set_detect_anomaly("--debug" in sys.argv)
        model = torch.nn.Linear(2, 1)

    ## When it is fine
    Tests, and a switch that is off by default. The rule is off unless selected.

    ## Measured
    Nothing is measured for it.

    ## References
    - PyTorch, `torch.autograd.set_detect_anomaly`: should be enabled only for debugging
    """

    code, slug, severity = "NUM012", "anomaly-left-on", Severity.INFO
    fix = Applicability.SAFE
    default = False

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per unconditional switch to anomaly detection."""
        if program.role == "test":
            return
        for call in program.calls:
            if call.name != SWITCH or call.conditional:
                continue
            mode = call.args.get("mode", call.args.get("0"))
            if mode is not None and mode.constant is True:
                yield self.finding(
                    call.location,
                    "anomaly detection is on for the whole run and makes every step several times slower",
                    help="switch it on only to find a fault",
                    fix=self.repair(
                        "switch it off",
                        edits.set_argument(program, call.location, "mode", "False", 0),
                    ),
                )
