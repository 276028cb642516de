"""LOP030: forward is called instead of the module."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.flows import one_per_place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram
    from convlint.rules import Changes


class CallForward(Rule):
    """`forward` is called instead of the module.

    ## What it does
    Reports `model.forward(x)` on a module.

    ## Why it hurts
    Hooks do not run: pruning, spectral normalisation, profilers and wrappers that rely on them
    are skipped without a word.

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
                optimizer.zero_grad()
                loss = criterion(model.forward(x), y)
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
    `super().forward(x)` is the way to call the base class and is not reported. It often does no
    harm, which is why the rule has to be selected.

    ## Measured
    Not measured: the fault is in the text, whatever a short run shows.

    ## References
    - PyTorch documentation, `torch.nn.Module.forward`, note on hooks
    """

    code = "LOP030"
    slug = "call-forward"
    severity = Severity.INFO
    fix = Applicability.UNSAFE
    default = False

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report calls of ``forward`` by name."""
        places: set[Location] = set()
        for call in program.calls:
            if call.name == "torch.nn.Module.forward" and one_per_place(places, call.location):
                yield self.finding(
                    call.location,
                    "`forward` is called by name, so the module's hooks do not run",
                    help="call the module itself",
                    fix=self.repair("call the module itself", _called(program, call.location)),
                )


def _called(program: TrainingProgram, place: Location) -> Changes:
    call = edits.call_at(program, place)
    if call is None or call.method != "forward":
        return None
    return edits.replace(call.callee, call.receiver_text)
