"""SCH021: a factor of the epoch applied to the rate it already changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits, statement_edits
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.schedules import hand_written, sparkline
from convlint.rules.patterns.settings import optimizers_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram
    from convlint.rules import Changes

VANISHED = 1e-3
"""Share of the peak that is left when factors multiply up; a planned decay ends above."""


class LrCompounding(Rule):
    """A factor that depends on the epoch is applied to the present rate instead of the initial one.

    ## What it does
    Simulates rates that are read from `param_groups`, multiplied by a factor computed from the
    loop's index, and written back, and reports when they vanish or explode.

    ## Why it hurts
    The factor of epoch 10 is the decay since the start, but the rate it is applied to has been
    decayed nine times already: the factors multiply up, and the rate is gone after a few epochs.

    ## Example
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
        for epoch in range(60):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            for group in optimizer.param_groups:
                group["lr"] = group["lr"] * 0.5 ** (epoch // 10)

    ## Use instead
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
        for epoch in range(60):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            for group in optimizer.param_groups:
                group["lr"] = 0.1 * 0.5 ** (epoch // 10)

    ## When it is fine
    A constant factor per epoch, a factor under a condition, a base rate kept apart.

    ## Measured
    Not measured directly; the loss series of the probe shows the consequence.

    ## References
    - PyTorch, How to adjust learning rate
    """

    code, slug, severity = "SCH021", "lr-compounding", Severity.ERROR
    fix = Applicability.UNSAFE
    unmeasured_because = "the probe ends within the first epochs"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report rates whose factors multiply up."""
        places: set[Location] = set()
        for optimizer in optimizers_of(program):
            schedule = hand_written(program, optimizer)
            if schedule is None or not schedule.compounds:
                continue
            rates = schedule.rates
            exploded = rates[0] > 0 and max(rates) * VANISHED > rates[0]
            if not exploded and rates[-1] >= VANISHED * max(rates):
                continue
            if one_per_place(places, schedule.location):
                yield self.finding(
                    schedule.location,
                    "the factor depends on the epoch and multiplies a rate it has changed before: after "
                    f"{len(rates)} epochs the rate is {rates[-1] / rates[0]:.1e} of the first "
                    f"({sparkline(rates)})",
                    help="keep the initial rate apart and write initial * factor(epoch)",
                    fix=self.repair(
                        "keep the initial rate in the group and scale that",
                        _from_initial_rate(program, schedule.location),
                    ),
                )


def _from_initial_rate(program: TrainingProgram, place: Location) -> Changes:
    """``g["lr"] = g["lr"] * f`` and ``g["lr"] *= f`` to ``g["lr"] = g.setdefault(...) * f``."""
    layout = program.layout(place)
    statement = statement_edits.statement_at(program, place)
    if layout is None or statement is None or statement.value is None:
        return None
    if len(statement.targets) != 1 or not statement.targets[0].endswith(('["lr"]', "['lr']")):
        return None
    rate = statement.targets[0]
    group = rate[: -len('["lr"]')]
    if not layout.is_path_of_names(group):
        return None
    initial = f'{group}.setdefault("initial_lr", {rate})'
    if statement.kind == "AugAssign":
        head = edits.between(statement.place, statement.value)
        operator = layout.text(head).removeprefix(rate).strip()
        if operator not in ("*=", "/="):
            return None
        value = layout.text(statement.value)
        atom = value if layout.is_atom(statement.value) else f"({value})"
        return edits.replace(statement.place, f"{rate} = {initial} {operator[0]} {atom}")
    sides = layout.binary(statement.value)
    if statement.kind != "Assign" or sides is None or sides[1] not in ("Mult", "Div"):
        return None
    read = [side for side in (sides[0], sides[2]) if layout.text(side) == rate]
    return edits.replace(read[0], initial) if len(read) == 1 else None
