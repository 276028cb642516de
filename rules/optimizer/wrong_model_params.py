"""OPT019: an optimizer that steps for a loss of another network than its own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from convlint.findings import Applicability, Confidence, Finding, Related, Severity
from convlint.program.facts import EventKind, ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.flows import FlowGraph, one_per_place
from convlint.rules.patterns.ownership import name_of, object_of, submodules
from convlint.rules.patterns.settings import optimizers_of
from convlint.rules.patterns.training_loops import STEPS, stepped_optimizer, training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import Event, Flow, Object, TrainingProgram
    from convlint.rules import Changes
    from convlint.rules.patterns.training_loops import TrainingLoop

_PAIRS = (
    (
        frozenset({"g", "gen", "generator", "netg"}),
        frozenset({"d", "dis", "disc", "discriminator", "netd"}),
    ),
    (frozenset({"actor", "policy"}), frozenset({"critic", "value"})),
    (frozenset({"enc", "encoder"}), frozenset({"dec", "decoder"})),
)


class WrongModelParams(Rule):
    """An optimizer has the parameters of another network than the one whose loss it steps for.

    ## What it does
    Reports an optimizer whose name says generator, discriminator, actor, critic, encoder or
    decoder, given the parameters of the counterpart alone, when the network it is named after
    exists and no other optimizer has it. Also an optimizer whose gradients are cleared, then those
    of a loss computed and stepped for, in which none of its own parameters has a part.

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
        """Report optimizers over the counterpart of the network they are named after, and steps
        without gradients."""
        places: set[Location] = set()
        yield from self._steps_for_others(program, places)
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

    def _steps_for_others(
        self, program: TrainingProgram, places: set[Location]
    ) -> Iterator[Finding]:
        graph: FlowGraph | None = None
        for loop in training_loops(program):
            if loop.has(EventKind.GRAD_WRITE) or loop.has(EventKind.PARAMETER_WRITE):
                continue
            for optimizer in loop.optimizers:
                owner = object_of(program, optimizer)
                if owner is None or not owner.parameters_of or owner.escaped:
                    continue
                own = submodules(program, owner.parameters_of)
                graph = graph or FlowGraph(program)
                for step, backwards in _rounds(loop, optimizer):
                    if not all(_is_of_others(program, graph, loop, b, own) for b in backwards):
                        continue
                    if one_per_place(places, step.location):
                        network = object_of(program, owner.parameters_of[0])
                        mine = name_of(network, "its network")
                        made = (
                            (Related(network.location, f"this `{mine}` has its parameters"),)
                            if network is not None
                            else ()
                        )
                        yield self.finding(
                            step.location,
                            f"`{name_of(owner, 'the optimizer')}` steps for a loss in which "
                            f"`{mine}`, whose parameters it has, plays no part",
                            help=f"compute the loss with that `{mine}`, or build the optimizer from "
                            "the network that computes it",
                            related=(
                                Related(backwards[-1].location, "the backward of that loss"),
                                *made,
                            ),
                        )


def _rounds(loop: TrainingLoop, optimizer: int) -> Iterator[tuple[Event, list[Event]]]:
    """Each step whose gradients were cleared before, and the backwards between; not where a test
    decides about one of them, or code that is not seen comes between."""
    backwards: list[Event] | None = None
    for occurrence in loop.occurrences:
        event = occurrence.event
        if occurrence.kind is EventKind.UNKNOWN_CALL or occurrence.conditional:
            backwards = None
        elif occurrence.kind is EventKind.ZERO_GRAD and event.target == optimizer:
            backwards = []
        elif occurrence.kind is EventKind.BACKWARD and backwards is not None:
            backwards.append(event)
        elif occurrence.kind in STEPS and stepped_optimizer(event) == optimizer:
            if backwards:
                yield event, backwards
            backwards = None


def _is_of_others(
    program: TrainingProgram, graph: FlowGraph, loop: TrainingLoop, backward: Event, own: set[int]
) -> bool:
    """Whether the loss of a backward surely is computed by other networks alone."""
    behind = list(graph.ancestors(backward.flow))
    if not all(flow.inputs or _is_data(flow) for flow in behind):
        return False
    numbers = {flow.id for flow in behind}
    ran = {flow.layer for flow in behind if flow.layer is not None}
    ran |= {
        o.event.target
        for o in loop.of_kind(EventKind.FORWARD)
        if o.event.target is not None and o.event.flow in numbers
    }
    parts = [object_of(program, number) for number in submodules(program, ran)]
    seen = all(
        part is not None
        and part.complete
        and (part.kind is ObjectKind.MODEL or part.cls.startswith("torch.nn."))
        for part in parts
    )
    return bool(ran) and seen and own.isdisjoint(submodules(program, ran))


def _is_data(flow: Flow) -> bool:
    """Whether a flow that comes from no other surely comes from no network either."""
    if flow.op == "<constant>":
        # a distribution, for one, is made of what it does not name
        return flow.name.startswith("numpy.") or flow.name.count(".") <= 1
    return flow.op in ("<batch>", "<array>")


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
