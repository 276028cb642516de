"""MON009: a tolerance that float32 cannot resolve."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns.scores import lower_is_better, test_of
from convlint.rules.patterns.training_loops import training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.program.facts import TrainingProgram, Value

SPACING = 1e-7
"""float32 numbers just below 1 are 6e-8 apart, those above 1.2e-7."""


class ToleranceBelowPrecision(Rule):
    """The tolerance is below what float32 can resolve.

    ## What it does
    Reports `abs(previous - loss) < tolerance` with a constant below 1e-7 on losses of a PyTorch
    training in float32.

    ## Why it hurts
    Two float32 numbers near 1 are either equal or at least 6e-8 apart. The test is true only
    when they are exactly equal, so training does not stop when it has converged.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        previous = float("inf")
        for epoch in range(100):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
            if abs(previous - loss.item()) < 1e-10:
                break
            previous = loss.item()

    ## Use instead
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        previous = float("inf")
        for epoch in range(100):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
            if abs(previous - loss.item()) < 1e-5:
                break
            previous = loss.item()

    ## When it is fine
    Training in float64, tolerances that are not constants, relative tolerances: none is
    reported.

    ## Measured
    Not measured: the probe stops before the comparison matters.

    ## References
    - IEEE 754, binary32: machine epsilon 1.19e-7
    """

    code = "MON009"
    slug = "tolerance-below-precision"
    severity = Severity.WARNING

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report tolerances below the spacing of float32."""
        if any(flow.op == "double" or _is_double(flow.args) for flow in program.flows):
            return
        if any(_is_double(call.args) for call in program.calls) or not training_loops(program):
            return
        for tolerance in program.tolerances:
            limit = tolerance.limit.number
            if limit is None or not 0 < limit < SPACING or not tolerance.loops:
                continue
            if any(map(lower_is_better, tolerance.compared)):
                yield self.finding(
                    tolerance.limit.location or test_of(tolerance.location),
                    f"a difference of {limit:g} between float32 losses is below their precision, so "
                    "this is only true when they are equal",
                    help="use 1e-6 or more, relative to the loss",
                )


def _is_double(args: dict[str, Value]) -> bool:
    return any(v.name in ("torch.float64", "torch.double", "numpy.float64") for v in args.values())
