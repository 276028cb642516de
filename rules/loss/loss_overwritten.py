"""LOS016: a loss that is assigned and never used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Related, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits, statement_edits
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.losses import trained_losses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Finding, Location
    from convlint.program.facts import TrainingProgram
    from convlint.rules import Changes


class LossOverwritten(Rule):
    """A loss is computed and thrown away: its name is assigned anew.

    ## What it does
    Reports a loss assigned to a name that is assigned again in the same block before anything reads it.

    ## Why it hurts
    The first term never reaches the optimizer. Usually `+=` was meant.

    ## Example
        import torch
        import torch.nn.functional as F
        from torch import nn

        model = nn.Linear(20, 10)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(64, 20)
        y = torch.randint(0, 10, (64,))
        for epoch in range(10):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss = F.multi_margin_loss(model(x), y)
            loss.backward()
            optimizer.step()

    ## Use instead
        import torch
        import torch.nn.functional as F
        from torch import nn

        model = nn.Linear(20, 10)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(64, 20)
        y = torch.randint(0, 10, (64,))
        for epoch in range(10):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss += F.multi_margin_loss(model(x), y)
            loss.backward()
            optimizer.step()

    ## When it is fine
    A second assignment that uses the first (`loss = loss + ...`), in another branch, or after a use.

    ## Measured
    Nothing is measured for it.

    ## References
    - Python: assignment binds a name anew
    """

    code, slug, severity = "LOS016", "loss-overwritten", Severity.ERROR
    fix = Applicability.UNSAFE

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per loss whose name is assigned again unread."""
        places: set[Location] = set()
        for loss in trained_losses(program, None):
            if loss.overwritten is None or not one_per_place(places, loss.location):
                continue
            yield self.finding(
                loss.location,
                f"this loss is never used: its name is assigned again in line {loss.overwritten.line}",
                help="add the terms (`loss += ...`), or remove the first",
                related=(Related(loss.overwritten, "assigned again here"),),
                fix=self.repair("add the terms", _added(program, loss.overwritten)),
            )


def _added(program: TrainingProgram, place: Location) -> Changes:
    """``loss = ...`` to ``loss += ...``."""
    statement = statement_edits.statement_at(program, place)
    if statement is None or statement.kind != "Assign" or statement.value is None:
        return None
    if len(statement.targets) != 1 or not statement.targets[0].isidentifier():
        return None
    head = edits.between(statement.place, statement.value)
    layout = program.layout(place)
    if layout is None or layout.text(head).strip() != f"{statement.targets[0]} =":
        return None
    return edits.replace(head, f"{statement.targets[0]} += ")
