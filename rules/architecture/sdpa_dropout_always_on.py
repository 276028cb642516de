"""NRM011: attention dropout that ignores the mode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Evidence, Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.forwards import (
    always_dropping,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.program.facts import (
        TrainingProgram,
    )

SDPA = "torch.nn.functional.scaled_dot_product_attention"


class SdpaDropoutAlwaysOn(Rule):
    """Scaled dot-product attention drops weights whatever the mode.

    ## What it does
    Reports `scaled_dot_product_attention` with a positive `dropout_p` that does not depend on the
    mode: a constant, or an attribute set once in the constructor.

    ## Why it hurts
    The function applies `dropout_p` whenever it is called; unlike a module it knows nothing of
    `model.eval()`. Evaluation and generation then run with attention dropout.

    ## Example
        import torch
        from torch import nn

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.qkv = nn.Linear(64, 192)

            def forward(self, x):
                q, k, v = self.qkv(x).chunk(3, dim=-1)
                return nn.functional.scaled_dot_product_attention(q, k, v, dropout_p=0.1)

        model = Net()
        optimizer = torch.optim.Adam(model.parameters())

    ## Use instead
        import torch
        from torch import nn

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.qkv = nn.Linear(64, 192)

            def forward(self, x):
                q, k, v = self.qkv(x).chunk(3, dim=-1)
                p = 0.1 if self.training else 0.0
                return nn.functional.scaled_dot_product_attention(q, k, v, dropout_p=p)

        model = Net()
        optimizer = torch.optim.Adam(model.parameters())

    ## When it is fine
    `dropout_p=p if self.training else 0.0`; a probability that the caller passes to `forward`.

    ## Measured
    Not measured: the probe watches training.

    ## References
    - PyTorch, `torch.nn.functional.scaled_dot_product_attention`: the warning on dropout_p
    """

    code, slug, severity = "NRM011", "sdpa-dropout-always-on", Severity.ERROR
    fix = Applicability.UNSAFE
    unmeasured_because = "it is a matter of structure, which the probe does not measure"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per call."""
        for call, given in always_dropping(program, frozenset({SDPA}), "dropout_p"):
            yield self.finding(
                given.location or call.location,
                "attention dropout stays on when the model is evaluated: `dropout_p` does not depend "
                "on the mode",
                help="pass `dropout_p=p if self.training else 0.0`",
                fix=self.repair(
                    "drop in training mode only",
                    edits.only_in_training(program, call.location, "dropout_p", 4),
                ),
                evidence=(Evidence("static", f"within {call.within[-1]}, no test on the mode"),),
            )
