"""NRM012: dropout of an attention kernel that ignores the mode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Confidence, Evidence, Finding, Severity
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

FLASH = frozenset(
    {
        "flash_attn.flash_attn_func", "flash_attn.flash_attn_qkvpacked_func",
        "flash_attn.flash_attn_varlen_func", "flash_attn.flash_attn_interface.flash_attn_func",
    }
)  # fmt: skip
XFORMERS = frozenset({"xformers.ops.memory_efficient_attention"})


class AttentionDropoutCall(Rule):
    """A fused attention kernel drops weights whatever the mode.

    ## What it does
    Reports a positive dropout probability handed to the attention kernels of flash-attn and
    xformers that does not depend on the mode.

    ## Why it hurts
    The kernels drop attention weights at every call, when evaluating and generating too.

    ## Example
        from flash_attn import flash_attn_func
        import torch
        from torch import nn

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.qkv = nn.Linear(64, 192)

            def forward(self, x):
                q, k, v = self.qkv(x).chunk(3, dim=-1)
                return flash_attn_func(q, k, v, dropout_p=0.1)

        model = Net()
        optimizer = torch.optim.Adam(model.parameters())

    ## Use instead
        from flash_attn import flash_attn_func
        import torch
        from torch import nn

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.qkv = nn.Linear(64, 192)

            def forward(self, x):
                q, k, v = self.qkv(x).chunk(3, dim=-1)
                return flash_attn_func(q, k, v, dropout_p=0.1 if self.training else 0.0)

        model = Net()
        optimizer = torch.optim.Adam(model.parameters())

    ## When it is fine
    A probability that is zero unless training, or that the caller passes to `forward`.

    ## Measured
    Not measured: the probe watches training.

    ## References
    - flash-attn, `flash_attn_func`: set dropout_p to 0.0 during evaluation
    """

    code, slug, severity = "NRM012", "attention-dropout-call", Severity.ERROR
    fix = Applicability.UNSAFE
    confidence = Confidence.MEDIUM
    unmeasured_because = "it is a matter of structure, which the probe does not measure"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per call."""
        for names, argument in ((FLASH, "dropout_p"), (XFORMERS, "p")):
            for call, given in always_dropping(program, names, argument):
                yield self.finding(
                    given.location or call.location,
                    f"the attention kernel drops weights when the model is evaluated: `{argument}` "
                    "does not depend on the mode",
                    help=f"pass `{argument}=p if self.training else 0.0`",
                    fix=self.repair(
                        "drop in training mode only",
                        edits.only_in_training(program, call.location, argument),
                    ),
                    evidence=(
                        Evidence("static", f"within {call.within[-1]}, no test on the mode"),
                    ),
                )
