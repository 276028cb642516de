"""MON004: early stopping without any patience."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns.flows import one_per_place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram


class PatienceZero(Rule):
    """Early stopping has no patience.

    ## What it does
    Reports an `EarlyStopping` of a library or of the project that is given a patience of 0.

    ## Why it hurts
    The first epoch that is not better ends the run. Validation scores are noisy, so that is
    nearly always long before the model has stopped improving.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        from ignite.handlers import EarlyStopping

        stopping = EarlyStopping(patience=0, score_function=None, trainer=None)

    ## Use instead
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        from ignite.handlers import EarlyStopping

        stopping = EarlyStopping(patience=5, score_function=None, trainer=None)

    ## When it is fine
    A patience that is not a constant, and a default that was not written down, are not
    reported.

    ## Measured
    Not measured: the probe stops before patience runs out.

    ## References
    - Prechelt, "Early Stopping - But When?", 1998
    """

    code = "MON004"
    slug = "patience-zero"
    severity = Severity.WARNING

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report the argument of every such object."""
        places: set[Location] = set()
        made = [(item.cls, item.args) for item in program.objects]
        called = [(call.name, call.args) for call in program.calls]
        for name, args in (*made, *called):
            patience = args.get("patience")
            if patience is None or patience.location is None or patience.number != 0:
                continue
            if name.rpartition(".")[2].startswith("EarlyStop") and one_per_place(
                places, patience.location
            ):
                yield self.finding(
                    patience.location,
                    "a patience of 0 ends the run at the first epoch that is not better",
                    help="start from 5 to 10 epochs",
                )
