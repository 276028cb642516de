"""NRM009: a dropout module made in forward."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Evidence, Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits, statement_edits
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
        Object,
        TrainingProgram,
    )
    from convlint.rules import Changes


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
    fix = Applicability.UNSAFE
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
                    fix=self.repair("follow the model's mode", _following_mode(program, layer)),
                )


def _following_mode(program: TrainingProgram, layer: Object) -> Changes:
    """``nn.Dropout(p)(x)`` to ``F.dropout(x, p, training=self.training)``."""
    place = next((f.location for f in program.flows if f.layer == layer.id), None)
    call, made = edits.call_at(program, place), edits.call_at(program, layer.location)
    function = edits.name_for(program, place, f"torch.nn.functional.{FUNCTIONS.get(layer.cls, '')}")
    if call is None or made is None or function is None or call.callee != layer.location:
        return None
    if layer.cls not in FUNCTIONS or len(call.arguments) != 1 or len(made.arguments) > 1:
        return None
    if not statement_edits.in_method(program, place):
        return None
    given = made.argument("p", 0)
    probability = "0.5" if given is None else given.text
    text = f"{function[0]}({call.arguments[0].text}, {probability}, training=self.training)"
    written = edits.replace(place, text)
    return None if written is None else (*written, *function[1])


FUNCTIONS = {
    "torch.nn.Dropout": "dropout",
    "torch.nn.Dropout1d": "dropout1d",
    "torch.nn.Dropout2d": "dropout2d",
    "torch.nn.Dropout3d": "dropout3d",
    "torch.nn.AlphaDropout": "alpha_dropout",
}
