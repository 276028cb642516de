"""NRM009: a dropout module made in forward."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import (
    Evidence,
    Finding,
    Severity,
)
from convlint.rules import Rule
from convlint.rules.patterns.flows import (
    one_per_place,
)
from convlint.rules.patterns.forwards import (
    in_forward,
    only_when_training,
    samples_on_purpose,
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


class DropoutModuleInForward(Rule):
    """A dropout module is created inside `forward` and stays on when evaluating.

    ## What it does
    Reports `nn.Dropout(p)(x)` in a forward that is not guarded by a test on the mode.

    ## Why it hurts
    A new module is always in training mode, and `model.eval()` cannot reach it. Units are dropped
    at evaluation and in production as well.

    ## Example
        import torch
        from torch import nn

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc = nn.Linear(20, 2)

            def forward(self, x):
                x = nn.Dropout(0.5)(x)
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
                self.drop = nn.Dropout(0.5)

            def forward(self, x):
                x = self.drop(x)
                return self.fc(x)

        model = Net()
        optimizer = torch.optim.Adam(model.parameters())

    ## When it is fine
    Under `if self.training`; where the network is sampled on purpose (Monte Carlo dropout).

    ## Measured
    Not measured: the probe watches training.

    ## References
    - PyTorch, `torch.nn.Dropout`: modules are created in training mode
    """

    code, slug, severity = "NRM009", "dropout-module-in-forward", Severity.ERROR
    unmeasured_because = "it is a matter of structure, which the probe does not measure"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per construction."""
        applied = {flow.layer for flow in program.flows}
        reported: set[Location] = set()
        for layer in program.objects:
            if canonical(layer.cls) not in DROPOUT_OPS or layer.id not in applied:
                continue
            probability = layer.args.get("p")
            if probability is not None and probability.number == 0:
                continue
            if (
                not in_forward(layer)
                or only_when_training(layer)
                or samples_on_purpose(layer.within)
            ):
                continue
            if one_per_place(reported, layer.location):
                yield self.finding(
                    layer.location,
                    "this dropout is made anew at every call, in training mode: it drops units when "
                    "the model is evaluated too",
                    help="create it in `__init__`, or use "
                    "`nn.functional.dropout(x, p, training=self.training)`",
                    evidence=(Evidence("static", f"constructed within {layer.within[-1]}"),),
                )
