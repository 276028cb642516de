"""MON008: early stopping keeps the last weights, not the best."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.scores import test_of
from convlint.rules.patterns.training_loops import training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram


class LastWeightsKept(Rule):
    """Early stopping ends with the last weights, not the best.

    ## What it does
    Reports early stopping that tracks the best score but neither saves nor copies the weights
    that reached it.

    ## Why it hurts
    Training stops some epochs after the best one, by design. Without a copy the model that is
    used is one that was already judged worse.

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
                bad_epochs = 0
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
        model.load_state_dict(torch.load("best.pt"))

    ## When it is fine
    Anything in the loop that may save or copy weights, and training loops elsewhere, are not
    reported.

    ## Measured
    Not measured: the probe stops before patience runs out.

    ## References
    - Prechelt, "Early Stopping - But When?", 1998
    """

    code = "MON008"
    slug = "last-weights-kept"
    severity = Severity.WARNING

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report stopping rules in a training that keep nothing."""
        training = {loop.id for found in training_loops(program) for loop in found.nest}
        places: set[Location] = set()
        for selection in program.selections:
            if selection.keeps or not selection.stops or not selection.loops:
                continue
            if selection.loops[-1] in training and one_per_place(places, selection.location):
                yield self.finding(
                    test_of(selection.location),
                    f"training stops after `{selection.measure}` has got worse, and the weights of "
                    "the best epoch are not kept",
                    help="save the weights here, and load them after the loop",
                )
