"""NRM015: a softmax that guesses its dimension."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Edit, Evidence, Finding, Fix, Location, Severity
from convlint.rules import Rule

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
    unmeasured_because = "the probe cannot tell a chosen dimension from a guessed one"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per softmax without a dimension."""
        places: dict[Location, tuple[str, Fix | None]] = {}
        for call in program.calls:
            if call.name in FUNCTIONS and _missing(call.args):
                places.setdefault(call.location, (call.name.rpartition(".")[2], None))
        for layer in program.objects:
            if layer.cls in CLASSES and _missing(layer.args):
                fix = None if layer.args else _fix(layer.location)
                places.setdefault(layer.location, (layer.cls.rpartition(".")[2], fix))
        for location, (name, fix) in places.items():
            yield self.finding(
                location,
                f"{name} without `dim` lets PyTorch guess the dimension: 0 for tensors of three "
                "dimensions, which is the batch",
                help="pass `dim=-1` (or the dimension of the classes)",
                evidence=(Evidence("static", "no `dim` argument"),),
                fix=fix,
            )


def _missing(args: dict[str, Value]) -> bool:
    """Whether ``dim`` surely was not given."""
    if "**" in args:
        return False
    dim = args.get("dim")
    return dim is None or (dim.known and dim.constant is None)


def _fix(call: Location) -> Fix | None:
    """``dim=-1`` between the parentheses of a call without arguments."""
    end = call.end_column - 1
    if end < 1:
        return None
    inside = Location(call.path, call.end_line, end, call.end_line, end)
    return Fix("name the last dimension", (Edit(inside, "dim=-1"),), Applicability.UNSAFE)
