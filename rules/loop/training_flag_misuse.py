"""LOP035: an override of train() that does not keep what callers of train() and eval() rely on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.statement_edits import insert_after, statement_at

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Fix
    from convlint.program.facts import ModeOverride, TrainingProgram
    from convlint.rules import Changes


class TrainingFlagMisuse(Rule):
    """An override of `train(mode)` does not hand the mode on, or does not return the module.

    ## What it does
    Reports a method `train(self, mode)` of a module that calls `super().train()` without the mode,
    passes `self` where the mode belongs, puts parts in training mode whatever the mode is, or
    returns nothing although the result of `train()` or `eval()` is used.

    ## Why it hurts
    `eval()` is `train(False)`. When the mode is dropped, `super().train()` means training mode, and
    the model can never be put in eval mode: dropout stays on and batch statistics are updated by
    evaluation data. Both methods return the module, so that `model = Net().eval()` works; an
    override without `return self` makes that None.

    ## Example
        import torch
        from torch import nn

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.body = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU())
                self.head = nn.Linear(16, 2)

            def forward(self, x):
                return self.head(self.body(x))

            def train(self, mode=True):
                super().train()
                self.body[1].eval()
                return self

    ## Use instead
        import torch
        from torch import nn

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.body = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU())
                self.head = nn.Linear(16, 2)

            def forward(self, x):
                return self.head(self.body(x))

            def train(self, mode=True):
                super().train(mode)
                self.body[1].eval()
                return self

    ## When it is fine
    An override that does nothing, to keep a frozen part in eval mode, or that asks for one mode in
    so many words (`super().train(False)`), and methods called `train` with other arguments: none is
    reported. A missing `return self` whose result the file does not use is reported as information.

    ## Measured
    Not measured: a probe rarely reaches the first evaluation.

    ## References
    - PyTorch documentation, `torch.nn.Module.train` and `torch.nn.Module.eval`
    """

    code, slug, severity = "LOP035", "training-flag-misuse", Severity.ERROR
    fix = Applicability.UNSAFE
    unmeasured_because = "the probe rarely reaches the first evaluation"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per fault: at the call without the mode, or where the method ends."""
        for override in program.mode_overrides:
            owner, mode = override.owner, override.mode
            severity = None
            help = f"write `super().train({mode})`"
            if override.fault == "self passed":
                message = (
                    f"`{owner}.train` passes `self` where the mode belongs, and `self` "
                    "counts as true: the model is always put in training mode"
                )
            elif override.fault == "mode dropped":
                message = (
                    f"`{owner}.train` drops `{mode}`: `eval()` puts the model in training mode"
                )
            elif override.fault == "mode ignored":
                message = (
                    f"`{owner}.train` ignores `{mode}`: `eval()` puts this part in training mode"
                )
                help = f"hand `{mode}` on to every part that is to follow it"
            else:
                message = f"`{owner}.train` does not return `self`: `model.eval()` gives None"
                help = "end the method with `return self`"
                severity = None if override.used else Severity.INFO
            yield self.finding(
                override.location,
                message,
                help=help,
                severity=severity,
                fix=self._repaired(program, override),
            )

    def _repaired(self, program: TrainingProgram, override: ModeOverride) -> Fix | None:
        if override.fault == "self not returned":
            last = statement_at(program, override.location)
            return self.repair("return the module", insert_after(program, last, "return self"))
        return self.repair("hand the mode on", _hand_on(program, override))


def _hand_on(program: TrainingProgram, override: ModeOverride) -> Changes:
    """The call with the mode as its only argument; not where a star brings others."""
    call = edits.call_at(program, override.location)
    if call is None or call.open_ended:
        return None
    return edits.replace(call.place, f"{call.callee_text}({override.mode})")
