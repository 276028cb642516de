"""MON007: the count of bad epochs is never set back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns import statement_edits
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.scores import test_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram


class PatienceCounterNeverReset(Rule):
    """The patience counter is never set back when the score improves.

    ## What it does
    Reports early stopping whose counter grows when nothing improves and is never reset.

    ## Why it hurts
    The counter then counts all bad epochs of the run, not those in a row. A noisy validation
    score reaches the limit while the model still improves, and training stops too early.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


        def evaluate() -> float:
            with torch.no_grad():
                return sum(criterion(model(x), y).item() for x, y in loader)

        best_score = float("inf")
        bad_epochs = 0
        for epoch in range(100):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
            val_loss = evaluate()
            if val_loss < best_score:
                best_score = val_loss
                torch.save(model.state_dict(), "best.pt")
            else:
                bad_epochs += 1
                if bad_epochs >= 5:
                    break

    ## Use instead
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


        def evaluate() -> float:
            with torch.no_grad():
                return sum(criterion(model(x), y).item() for x, y in loader)

        best_score = float("inf")
        bad_epochs = 0
        for epoch in range(100):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
            val_loss = evaluate()
            if val_loss < best_score:
                best_score = val_loss
                bad_epochs = 0
                torch.save(model.state_dict(), "best.pt")
            else:
                bad_epochs += 1
                if bad_epochs >= 5:
                    break

    ## When it is fine
    Counters that stop nothing, and counters that any code sets back, are not reported.

    ## Measured
    Not measured: the probe stops before patience runs out.

    ## References
    - Prechelt, "Early Stopping - But When?", 1998
    """

    code = "MON007"
    slug = "patience-counter-never-reset"
    severity = Severity.ERROR
    fix = Applicability.UNSAFE

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report counters that only ever grow."""
        places: set[Location] = set()
        for selection in program.selections:
            if not selection.counter or not selection.stops or selection.counter_reset:
                continue
            if selection.loops and one_per_place(places, selection.location):
                yield self.finding(
                    test_of(selection.location),
                    f"`{selection.counter}` is not set back when `{selection.measure}` improves, so "
                    "it counts all bad epochs instead of those in a row",
                    help=f"set `{selection.counter} = 0` where the best score is remembered",
                    fix=self.repair(
                        "set the counter back where the best score is remembered",
                        statement_edits.insert_at_start(
                            program,
                            statement_edits.compound_at(program, selection.location, "If"),
                            f"{selection.counter} = 0",
                        ),
                    ),
                )
