"""NRM010: functional dropout that ignores the mode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Evidence, Finding, Severity
from convlint.program.facts import ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns import edits, statement_edits
from convlint.rules.patterns.flows import (
    one_per_place,
)
from convlint.rules.patterns.forwards import (
    only_when_training,
    samples_on_purpose,
)
from convlint.rules.patterns.initialisations import (
    is_default,
)
from convlint.rules.patterns.layers import (
    DROPOUT_OPS,
    canonical,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import (
        TrainingProgram,
    )


class FunctionalDropoutAlwaysOn(Rule):
    """Functional dropout is called without `training`, so it is never switched off.

    ## What it does
    Reports `nn.functional.dropout` (and its channel forms) in a method of a module when `training`
    is not given: its default is True. A literal `training=True` is only noted.

    ## Why it hurts
    `model.eval()` does not reach a function. Units are dropped when the model is evaluated or
    used, and validation figures are noisy and too low.

    ## Example
        import torch
        from torch import nn

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc = nn.Linear(20, 2)

            def forward(self, x):
                x = nn.functional.dropout(x, 0.5)
                return self.fc(x)

        model = Net()
        optimizer = torch.optim.Adam(model.parameters())

    ## Use instead
        import torch
        from torch import nn

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc = nn.Linear(20, 2)

            def forward(self, x):
                x = nn.functional.dropout(x, 0.5, training=self.training)
                return self.fc(x)

        model = Net()
        optimizer = torch.optim.Adam(model.parameters())

    ## When it is fine
    Under `if self.training`; Monte Carlo dropout and Bayesian networks; the pre-net of Tacotron,
    which keeps it on by design.

    ## Measured
    Not measured: the probe watches training.

    ## References
    - PyTorch, `torch.nn.functional.dropout`: training defaults to True
    """

    code, slug, severity = "NRM010", "functional-dropout-always-on", Severity.ERROR
    fix = Applicability.UNSAFE
    unmeasured_because = "it is a matter of structure, which the probe does not measure"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per call."""
        modules = {
            item.cls.rpartition(".")[2] for item in program.objects if item.kind is ObjectKind.MODEL
        }
        reported: set[Location] = set()
        for call in program.calls:
            if (
                not call.name.startswith("torch.nn.functional.")
                or canonical(call.name) not in DROPOUT_OPS
            ):
                continue
            training, probability = call.args.get("training"), call.args.get("p")
            if training is None or training.constant is not True:
                continue
            if probability is not None and probability.number == 0:
                continue
            if not any(name.rpartition(".")[0] in modules for name in call.within):
                continue
            if only_when_training(call) or samples_on_purpose(call.within):
                continue
            if not one_per_place(reported, call.location):
                continue
            default = is_default(training)
            if not default and training.origin is not None and training.origin.kind != "literal":
                continue
            yield self.finding(
                call.location,
                "dropout stays on when the model is evaluated: `training` is "
                + ("not given and defaults to True" if default else "always True"),
                help="pass `training=self.training`",
                fix=self.repair(
                    "follow the model's mode",
                    edits.set_argument(program, call.location, "training", "self.training", 2)
                    if statement_edits.in_method(program, call.location)
                    else None,
                ),
                severity=None if default else Severity.INFO,
                evidence=(Evidence("static", f"within {call.within[-1]}, no test on the mode"),),
            )
