"""MON002: the model is chosen by its score on the test set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Confidence, Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.scores import is_test_score, is_validation_score, test_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram


class TestSetSelection(Rule):
    """The model is chosen by its score on the test set.

    ## What it does
    Reports a best score on the test set that decides which weights are kept or when training
    stops, in a loop that also computes a validation score.

    ## Why it hurts
    The best of many test scores is too good: the test set then no longer tells how the model
    does on new data.

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
            test_loss = evaluate()
            if test_loss < best_score:
                best_score = test_loss
                torch.save(model.state_dict(), "best.pt")

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
            test_loss = evaluate()
            if val_loss < best_score:
                best_score = val_loss
                torch.save(model.state_dict(), "best.pt")

    ## When it is fine
    Programs without a validation score, and tests that keep no weights and stop nothing:
    neither is reported.

    ## Measured
    Not measured: the choice happens after the probe has stopped.

    ## References
    - Cawley and Talbot, "On Over-fitting in Model Selection", JMLR 2010
    """

    code = "MON002"
    slug = "test-set-selection"
    severity = Severity.WARNING
    confidence = Confidence.MEDIUM

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report choices by test scores beside validation scores."""
        places: set[Location] = set()
        for selection in program.selections:
            if not (selection.keeps or selection.stops) or not is_test_score(selection.measure):
                continue
            other = next(filter(is_validation_score, selection.others), "")
            if other and one_per_place(places, selection.location):
                yield self.finding(
                    test_of(selection.location),
                    f"`{selection.measure}` decides which weights are the best, although `{other}` is "
                    "there",
                    help=f"decide on `{other}` and look at the test score once, at the end",
                )
