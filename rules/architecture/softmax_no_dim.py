"""NRM015: a softmax that guesses its dimension."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Evidence, Finding, Location, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.program.facts import TrainingProgram, Value

FUNCTIONS = frozenset(
    f"torch.nn.functional.{name}" for name in ("softmax", "log_softmax", "softmin")
)
CLASSES = frozenset(f"torch.nn.{name}" for name in ("Softmax", "LogSoftmax", "Softmin"))


class SoftmaxNoDim(Rule):
    """A softmax is applied without saying along which dimension.

    ## What it does
    Reports `F.softmax`, `F.log_softmax`, `F.softmin` and their modules without `dim`.

    ## Why it hurts
    PyTorch then guesses: dimension 0 for tensors of 0, 1 or 3 dimensions, else 1. For a sequence
    of shape (batch, time, classes) that normalises over the *batch*: the samples compete with each
    other, and the loss still goes down.

    ## Example
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(20, 10), nn.LogSoftmax())
        loss = nn.functional.nll_loss(model(torch.randn(8, 20)), torch.zeros(8, dtype=torch.long))

    ## Use instead
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(20, 10), nn.LogSoftmax(dim=-1))
        loss = nn.functional.nll_loss(model(torch.randn(8, 20)), torch.zeros(8, dtype=torch.long))

    ## When it is fine
    It works by accident on two-dimensional tensors; PyTorch warns all the same.

    ## Measured
    The probe measures what comes out, not whether the dimension was chosen on purpose.

    ## References
    - PyTorch, `torch.nn.functional.softmax`: implicit dimension choice is deprecated
    """

    code, slug, severity = "NRM015", "softmax-no-dim", Severity.WARNING
    fix = Applicability.UNSAFE
    unmeasured_because = "the probe cannot tell a chosen dimension from a guessed one"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per softmax without a dimension."""
        places: dict[Location, str] = {}
        for call in program.calls:
            if call.name in FUNCTIONS and _missing(call.args):
                places.setdefault(call.location, call.name.rpartition(".")[2])
        for layer in program.objects:
            if layer.cls in CLASSES and _missing(layer.args):
                places.setdefault(layer.location, layer.cls.rpartition(".")[2])
        for location, name in places.items():
            yield self.finding(
                location,
                f"{name} without `dim` lets PyTorch guess the dimension: 0 for tensors of three "
                "dimensions, which is the batch",
                help="pass `dim=-1` (or the dimension of the classes)",
                evidence=(Evidence("static", "no `dim` argument"),),
                fix=self.repair(
                    "name the last dimension",
                    edits.set_argument(program, location, "dim", "-1"),
                ),
            )


def _missing(args: dict[str, Value]) -> bool:
    """Whether ``dim`` surely was not given."""
    if "**" in args:
        return False
    dim = args.get("dim")
    return dim is None or (dim.known and dim.constant is None)
