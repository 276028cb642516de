"""SCH019: lambdas that share the loop variable they were made with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Finding, Severity
from convlint.program.facts import ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.flows import one_per_place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram
    from convlint.rules import Changes


class LambdaLateBinding(Rule):
    """The functions given to LambdaLR all use the last value of the loop they were made in.

    ## What it does
    Reports a comprehension of lambdas for `LambdaLR` or `MultiplicativeLR` that use its loop
    variable.

    ## Why it hurts
    A lambda looks its names up when it is called. By then the loop is over, and every parameter
    group follows the schedule of the last.

    ## Example
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(
            [{"params": model[0].parameters()}, {"params": model[2].parameters()}], lr=0.1
        )
        decays = [0.9, 0.99]
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, [lambda epoch: decays[i] ** epoch for i in range(2)]
        )
        x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
        for epoch in range(20):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            scheduler.step()

    ## Use instead
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(
            [{"params": model[0].parameters()}, {"params": model[2].parameters()}], lr=0.1
        )
        decays = [0.9, 0.99]
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, [lambda epoch, i=i: decays[i] ** epoch for i in range(2)]
        )
        x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
        for epoch in range(20):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            scheduler.step()

    ## When it is fine
    The variable bound as a default, or by functools.partial.

    ## Measured
    Not measured.

    ## References
    - Python, Programming FAQ, Why do lambdas defined in a loop with different values all return the same result?
    """

    code, slug, severity = "SCH019", "lambda-late-binding", Severity.ERROR
    fix = Applicability.SAFE

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report lambdas that share a loop variable."""
        places: set[Location] = set()
        for scheduler in program.objects:
            shared = scheduler.args.get("late_bound")
            if scheduler.kind is not ObjectKind.SCHEDULER or shared is None:
                continue
            if one_per_place(places, scheduler.location):
                name = shared.constant
                yield self.finding(
                    shared.location or scheduler.location,
                    f"all these lambdas use the last `{name}`: every group follows the same schedule",
                    help=f"bind it: lambda epoch, {name}={name}: ...",
                    fix=self.repair(
                        f"bind `{name}` when the lambda is made",
                        _bound(program, scheduler.location, str(name)),
                    ),
                )


def _bound(program: TrainingProgram, place: Location, name: str) -> Changes:
    """``lambda epoch: ... i`` to ``lambda epoch, i=i: ... i``, for every lambda that reads it."""
    layout = program.layout(place)
    readers = [] if layout is None else [a for a, read in layout.lambdas_in(place) if name in read]
    if not readers or None in readers:
        return None
    return tuple(
        e for last in readers if last for e in edits.append(last, f", {name}={name}") or ()
    )
