"""OPT019: an optimizer named after one network, over another's parameters."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from convlint.findings import Applicability, Confidence, Finding, Severity
from convlint.program.facts import ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.ownership import object_of
from convlint.rules.patterns.settings import optimizers_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import Object, TrainingProgram
    from convlint.rules import Changes

_PAIRS = (
    (
        frozenset({"g", "gen", "generator", "netg"}),
        frozenset({"d", "dis", "disc", "discriminator", "netd"}),
    ),
    (frozenset({"actor", "policy"}), frozenset({"critic", "value"})),
    (frozenset({"enc", "encoder"}), frozenset({"dec", "decoder"})),
)


class WrongModelParams(Rule):
    """An optimizer carries the name of one network and the parameters of its counterpart.

    ## What it does
    Reports an optimizer whose name says generator, discriminator, actor, critic, encoder or
    decoder, given the parameters of the counterpart alone, when the network it is named after
    exists and no other optimizer has it.

    ## Why it hurts
    One network gets two updates, the other none: an adversarial game with one player.

    ## Example
        import torch
        from torch import nn

        netG = nn.Linear(4, 8)
        netD = nn.Linear(8, 1)
        criterion = nn.BCEWithLogitsLoss()
        optimizerD = torch.optim.Adam(netG.parameters(), lr=2e-4, betas=(0.5, 0.999))
        optimizerG = torch.optim.Adam(netG.parameters(), lr=2e-4, betas=(0.5, 0.999))
        real = torch.randn(64, 8)
        ones, zeros = torch.ones(64, 1), torch.zeros(64, 1)
        for step in range(100):
            optimizerD.zero_grad()
            fake = netG(torch.randn(64, 4))
            loss = criterion(netD(real), ones) + criterion(netD(fake.detach()), zeros)
            loss.backward()
            optimizerD.step()
            optimizerG.zero_grad()
            criterion(netD(fake), ones).backward()
            optimizerG.step()

    ## Use instead
        import torch
        from torch import nn

        netG = nn.Linear(4, 8)
        netD = nn.Linear(8, 1)
        criterion = nn.BCEWithLogitsLoss()
        optimizerD = torch.optim.Adam(netD.parameters(), lr=2e-4, betas=(0.5, 0.999))
        optimizerG = torch.optim.Adam(netG.parameters(), lr=2e-4, betas=(0.5, 0.999))
        real = torch.randn(64, 8)
        ones, zeros = torch.ones(64, 1), torch.zeros(64, 1)
        for step in range(100):
            optimizerD.zero_grad()
            fake = netG(torch.randn(64, 4))
            loss = criterion(netD(real), ones) + criterion(netD(fake.detach()), zeros)
            loss.backward()
            optimizerD.step()
            optimizerG.zero_grad()
            criterion(netD(fake), ones).backward()
            optimizerG.step()

    ## When it is fine
    Shared parameters, names that do not pair.

    ## Measured
    `convlint probe` lists parameters that receive gradients and are in no optimizer.

    ## References
    - Goodfellow et al., Generative adversarial nets, 2014
    """

    code, slug, severity = "OPT019", "wrong-model-params", Severity.ERROR
    fix = Applicability.UNSAFE
    confidence = Confidence.MEDIUM
    confirmed_by = ("parameter-not-optimized",)

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report optimizers over the counterpart of the network they are named after."""
        places: set[Location] = set()
        networks = [
            o for o in program.objects if o.kind in (ObjectKind.MODEL, ObjectKind.LAYER) and o.names
        ]
        trained = {number for o in optimizers_of(program) for number in o.parameters_of or ()}
        unresolved = any(o.parameters_of is None for o in optimizers_of(program))
        for optimizer in optimizers_of(program):
            owners = [object_of(program, number) for number in optimizer.parameters_of or ()]
            if len(owners) != 1 or owners[0] is None or unresolved:
                continue
            given = owners[0]
            for pair in _PAIRS:
                for mine, other in (pair, pair[::-1]):
                    if not _named(optimizer, mine) or _named(optimizer, other):
                        continue
                    if not _named(given, other) or _named(given, mine):
                        continue
                    meant = [n for n in networks if _named(n, mine) and n.id not in trained]
                    if meant and one_per_place(places, optimizer.location):
                        yield self.finding(
                            optimizer.location,
                            f"`{optimizer.names[0]}` is given the parameters of `{given.names[0]}`, and "
                            f"nothing trains `{meant[0].names[0]}`",
                            help=f"pass {meant[0].names[0]}.parameters()",
                            fix=self.repair(
                                f"give it the parameters of `{meant[0].names[0]}`",
                                _given(program, optimizer, given, meant[0]),
                            ),
                        )


def _named(item: Object, words: frozenset[str]) -> bool:
    """Whether one of the object's names has one of these words in it."""
    return any(
        part.lower() in words
        for name in item.names
        for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name.removeprefix("self."))
    )


def _given(program: TrainingProgram, optimizer: Object, given: Object, meant: Object) -> Changes:
    call = edits.call_at(program, optimizer.location)
    params = None if call is None else call.argument("params", 0)
    if params is None or params.text not in {f"{name}.parameters()" for name in given.names}:
        return None
    return edits.replace(params.value, f"{meant.names[0]}.parameters()")
