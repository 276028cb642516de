"""REP003: one library's random numbers are seeded and another's are not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns.seeds import SEEDING, sets_everything
from convlint.rules.patterns.training_loops import training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.program.facts import TrainingProgram


class PartialSeed(Rule):
    """One library is seeded, and another that draws random numbers too is not.

    ## What it does
    Reports a script that seeds NumPy or Python and not PyTorch while it trains with PyTorch, or
    seeds PyTorch while it draws from NumPy unseeded.

    ## Why it hurts
    The run looks reproducible and is not: initial weights, or the order of the data, still
    change.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        import numpy as np
        np.random.seed(0)
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
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
        import numpy as np
        np.random.seed(0)
        torch.manual_seed(0)
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()

    ## When it is fine
    Helpers that seed everything (`seed_everything`, `set_seed`) and generators that carry their
    own seed are not reported.

    ## Measured
    Not measured: one run cannot tell how another would differ.

    ## References
    - PyTorch documentation, "Reproducibility"
    """

    code = "REP003"
    slug = "partial-seed"
    severity = Severity.INFO
    default = False

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report the lone seed."""
        if program.managed or sets_everything(program):
            return
        seeded = {
            call.name.partition(".")[0]: call for call in program.calls if call.name in SEEDING
        }
        if seeded and "torch" not in seeded:
            if training_loops(program):
                call = next(iter(seeded.values()))
                yield self.finding(
                    call.location,
                    f"`{call.name.partition('.')[0]}` is seeded here and PyTorch is not: initial "
                    "weights and the order of batches still change from run to run",
                    help="call `torch.manual_seed(...)` too",
                )
        elif "torch" in seeded and "numpy" not in seeded:
            drawn = next((c for c in program.calls if c.name in _DRAWS), None)
            if drawn is not None:
                yield self.finding(
                    drawn.location,
                    "this draws from NumPy, which is not seeded, while PyTorch is",
                    help="call `np.random.seed(...)` too, or use `np.random.default_rng(seed)`",
                )


_DRAWS = frozenset(
    f"numpy.random.{name}"
    for name in (
        "rand",
        "randn",
        "randint",
        "choice",
        "permutation",
        "shuffle",
        "normal",
        "uniform",
    )
)
