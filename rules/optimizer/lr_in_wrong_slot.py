"""OPT021: positional arguments of an optimizer in the wrong order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.settings import optimizer_class, optimizers_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram
    from convlint.rules import Changes

LOOKS_LIKE_MOMENTUM = 0.5
LOOKS_LIKE_RATE = 0.1


class LrInWrongSlot(Rule):
    """An optimizer's positional arguments stand in each other's place.

    ## What it does
    Reports an optimizer whose learning rate is a tuple (the betas), and SGD with a learning rate
    of 0.5 and more next to a momentum of 0.1 and less.

    ## Why it hurts
    The second positional argument is the learning rate, the third the momentum or the betas. Given
    as (0.9, 0.001), SGD steps with a rate of 0.9 and no momentum to speak of.

    ## Example
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), 0.9, 1e-3)
        x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
        for epoch in range(20):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()

    ## Use instead
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
        x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
        for epoch in range(20):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()

    ## When it is fine
    A high rate without any momentum, or with a usual one.

    ## Measured
    Not measured directly; the probe's loss series shows the consequence.

    ## References
    - PyTorch, `torch.optim.SGD`
    """

    code, slug, severity = "OPT021", "lr-in-wrong-slot", Severity.ERROR
    fix = Applicability.UNSAFE

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report rates that are betas, and momenta that are rates."""
        places: set[Location] = set()
        for optimizer in optimizers_of(program):
            name = optimizer_class(optimizer)
            rate, momentum = optimizer.args.get("lr"), optimizer.args.get("momentum")
            if rate is None or not one_per_place(places, optimizer.location):
                continue
            if rate.items is not None and rate.loop is None and len(rate.items) == 2:
                yield self.finding(
                    rate.location or optimizer.location,
                    f"the learning rate of {name} is a pair: the betas stand in its place",
                    help="name the arguments: lr=..., betas=(...)",
                    fix=self.repair("name the betas", _as_betas(program, optimizer.location)),
                )
            elif (
                name == "SGD"
                and rate.number is not None
                and momentum is not None
                and momentum.number is not None
                and rate.number >= LOOKS_LIKE_MOMENTUM
                and rate.number < 1
                and 0 < momentum.number <= LOOKS_LIKE_RATE
            ):
                yield self.finding(
                    rate.location or optimizer.location,
                    f"learning rate {rate.number:g} with momentum {momentum.number:g}: they stand in "
                    "each other's place",
                    help=f"lr={momentum.number:g}, momentum={rate.number:g}",
                    fix=self.repair("name the two", _exchanged(program, optimizer.location)),
                )


def _as_betas(program: TrainingProgram, place: Location) -> Changes:
    """``Adam(params, (0.9, 0.999))`` to ``Adam(params, betas=(0.9, 0.999))``."""
    call = edits.call_at(program, place)
    pair = None if call is None else call.argument("lr", 1)
    if call is None or pair is None or call.argument("betas") is not None or call.open_ended:
        return None
    if any(other.name is None for other in call.arguments[2:]):
        return None
    return edits.replace(pair.whole, f"betas={pair.text}")


def _exchanged(program: TrainingProgram, place: Location) -> Changes:
    call = edits.call_at(program, place)
    rate = None if call is None else call.argument("lr", 1)
    momentum = None if call is None else call.argument("momentum", 2)
    if call is None or rate is None or momentum is None:
        return None
    if any(other.name is None for other in call.arguments[3:]):
        return None
    return (
        *(edits.replace(rate.whole, f"lr={momentum.text}") or ()),
        *(edits.replace(momentum.whole, f"momentum={rate.text}") or ()),
    )
