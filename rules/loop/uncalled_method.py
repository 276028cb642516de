"""LOP026: a method of the training is named but not called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Finding, Location, Severity
from convlint.program.facts import ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.ownership import object_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram, Unused


class UncalledMethod(Rule):
    """A method is named but not called.

    ## What it does
    Reports a statement such as `optimizer.step`, `optimizer.zero_grad`, `model.eval` or
    `loss.backward` without parentheses.

    ## Why it hurts
    The line does nothing and raises nothing: no step is made, no gradient cleared, no mode
    switched.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()

    ## Use instead
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()

    ## When it is fine
    A method that is passed on or assigned is used and not reported.

    ## Measured
    Not measured: the fault is in the text, whatever a short run shows.

    ## References
    - flake8-bugbear, B018, useless expression
    """

    code = "LOP026"
    slug = "uncalled-method"
    severity = Severity.ERROR
    fix = Applicability.SAFE

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report expression statements that only name one of the training's methods."""
        places: set[Location] = set()
        for unused in program.unused:
            if unused.called or not _matters(program, unused):
                continue
            if one_per_place(places, unused.location):
                yield self.finding(
                    unused.location,
                    f"`{unused.name}` is named here but not called, so the line does nothing",
                    help=f"write `{unused.name}()`",
                    fix=self.repair("call the method", edits.append(unused.location, "()")),
                )


def _matters(program: TrainingProgram, unused: Unused) -> bool:
    if unused.flow is not None:
        return unused.name == "backward"
    receiver = object_of(program, unused.receiver)
    return receiver is not None and unused.name in _METHODS.get(receiver.kind, ())


_METHODS = {
    ObjectKind.OPTIMIZER: ("step", "zero_grad"),
    ObjectKind.SCHEDULER: ("step",),
    ObjectKind.SCALER: ("update",),
    ObjectKind.MODEL: ("train", "eval", "zero_grad"),
    ObjectKind.LAYER: ("train", "eval", "zero_grad"),
}
