"""MON001: the best score is kept in the wrong direction."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from convlint.findings import Applicability, Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits, statement_edits
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.scores import higher_is_better, lower_is_better, test_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import Selection, TrainingProgram
    from convlint.rules import Changes


class MonitorDirection(Rule):
    """The best score is kept in the wrong direction.

    ## What it does
    Reports `if val_loss > best_loss` (or `accuracy < best_accuracy`) that remembers the score
    as the best, and a best score whose starting value nothing can beat: infinity where larger
    is better, 0 where a loss has to fall below it.

    ## Why it hurts
    The checkpoint that is kept is the worst one, or none is ever kept.

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

        best_score = 0.0
        bad_epochs = 0
        for epoch in range(100):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
            val_loss = evaluate()
            if val_loss > best_score:
                best_score = val_loss
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
            if val_loss < best_score:
                best_score = val_loss
                torch.save(model.state_dict(), "best.pt")

    ## When it is fine
    Scores whose name does not say which way is better, negated losses, searches for the hardest
    example or the largest loss: none is reported.

    ## Measured
    Not measured: the probe stops before the first comparison.

    ## References
    - PyTorch Lightning documentation, `ModelCheckpoint`, argument `mode`
    """

    code = "MON001"
    slug = "monitor-direction"
    severity = Severity.ERROR
    fix = Applicability.UNSAFE

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report selections that prefer the worse score, or cannot prefer any."""
        places: set[Location] = set()
        for selection in program.selections:
            fault = _unbeatable(selection) or _reversed(selection)
            if fault and one_per_place(places, selection.location):
                yield self.finding(
                    test_of(selection.location),
                    fault,
                    help="turn the comparison around, or start from the worst possible score",
                    fix=self.repair(
                        "start from the worst possible score", _worst(program, selection)
                    )
                    if _unbeatable(selection)
                    else self.repair("turn the comparison around", _turned(program, selection)),
                )


def _unbeatable(selection: Selection) -> str:
    start = selection.initial.number
    if start is None:
        return ""
    name = f"`{selection.best}` starts from {start:g}"
    if math.isinf(start) and (start > 0) is not selection.below:
        return f"{name}, so no score is ever better"
    if start == 0 and selection.below and lower_is_better(selection.measure):
        return f"{name}, and a loss never falls below it"
    return ""


def _reversed(selection: Selection) -> str:
    if "best" not in selection.best.lower() or "worst" in selection.best.lower():
        return ""
    if selection.below and higher_is_better(selection.measure):
        return f"a smaller `{selection.measure}` is remembered as the best"
    if not selection.below and lower_is_better(selection.measure):
        return f"a larger `{selection.measure}` is remembered as the best"
    return ""


def _worst(program: TrainingProgram, selection: Selection) -> Changes:
    """Start where every score is better: at infinity on the other side."""
    worst = 'float("inf")' if selection.below else '-float("inf")'
    layout, test = (
        program.layout(selection.location),
        statement_edits.statement_at(program, selection.location),
    )
    if layout is None or test is None:
        return None
    started = [
        statement
        for statement in layout.all_statements()
        if statement.kind == "Assign"
        and statement.targets == (selection.best,)
        and statement.place < test.place
        and statement.function in (None, test.function)
    ]
    value = started[-1].value if started else None
    return None if value is None else edits.replace(value, worst)


def _turned(program: TrainingProgram, selection: Selection) -> Changes:
    layout, statement = program.layout(selection.location), None
    if layout is not None:
        statement = layout.statement(selection.location)
    sides = layout.binary(statement.test) if layout is not None and statement is not None else None
    if layout is None or sides is None or sides[1] not in TURNED:
        return None
    sign = edits.between(edits.end_of(sides[0]), edits.start_of(sides[2]))
    if layout.text(sign).strip() not in ("<", ">", "<=", ">="):
        return None
    return edits.replace(sign, f" {TURNED[sides[1]]} ")


TURNED = {"Lt": ">", "Gt": "<", "LtE": ">=", "GtE": "<="}
