"""MON005: early stopping watches the training loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Confidence, Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.scores import is_training_score, is_validation_score, test_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram


class StopOnTrainingLoss(Rule):
    """Early stopping watches the training loss although a validation score exists.

    ## What it does
    Reports early stopping on a score named as one of training in a loop that also computes a
    validation score.

    ## Why it hurts
    The training loss goes on falling while the model overfits, so the rule stops too late or
    never, and picks the most overfitted weights.

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
            train_loss = loss.item()
            if train_loss < best_score:
                best_score = train_loss
                bad_epochs = 0
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
            train_loss = loss.item()
            if val_loss < best_score:
                best_score = val_loss
                bad_epochs = 0
                torch.save(model.state_dict(), "best.pt")
            else:
                bad_epochs += 1
                if bad_epochs >= 5:
                    break

    ## When it is fine
    Loops without a validation score, and best scores that stop nothing, are not reported.

    ## Measured
    Not measured: the probe stops before patience runs out.

    ## References
    - Prechelt, "Early Stopping - But When?", 1998
    """

    code = "MON005"
    slug = "stop-on-training-loss"
    severity = Severity.WARNING
    confidence = Confidence.MEDIUM

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report stopping rules on training scores beside validation scores."""
        places: set[Location] = set()
        for selection in program.selections:
            if not selection.stops or not is_training_score(selection.measure):
                continue
            other = next(filter(is_validation_score, selection.others), "")
            if other and one_per_place(places, selection.location):
                yield self.finding(
                    test_of(selection.location),
                    f"`{selection.measure}` decides when to stop, although `{other}` is there",
                    help=f"decide on `{other}`",
                )
