"""LOP028: the generator steps on gradients of the discriminator's loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Confidence, Finding, Severity
from convlint.program.facts import EventKind
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.flows import FlowGraph, one_per_place
from convlint.rules.patterns.orders import gradient_orders
from convlint.rules.patterns.ownership import Match, acts_on, name_of, object_of, submodules
from convlint.rules.patterns.training_loops import STEPS, stepped_optimizer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram
    from convlint.rules import Changes
    from convlint.rules.patterns.paths import Occurrence


class GanGeneratorGraphInD(Rule):
    """The generator steps on gradients of the discriminator's loss.

    ## What it does
    Reports a backward that fills the gradients of a second network before the first one's step,
    when nothing clears them before the second network's own step.

    ## Why it hurts
    In a GAN the discriminator's loss wants fakes to be told apart. Its gradient in the
    generator points away from what the generator should learn, and is added to the right one.

    ## Example
        import torch
        from torch import nn

        generator = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
        critic = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1))
        optimizer_g = torch.optim.Adam(generator.parameters(), lr=1e-4)
        optimizer_c = torch.optim.Adam(critic.parameters(), lr=1e-4)
        real = torch.randn(32, 4)
        for step in range(100):
            optimizer_c.zero_grad()
            optimizer_g.zero_grad()
            fake = generator(torch.randn(32, 8))
            loss_c = critic(fake).mean() - critic(real).mean()
            loss_c.backward()
            optimizer_c.step()
            loss_g = -critic(generator(torch.randn(32, 8))).mean()
            loss_g.backward()
            optimizer_g.step()

    ## Use instead
        import torch
        from torch import nn

        generator = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
        critic = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1))
        optimizer_g = torch.optim.Adam(generator.parameters(), lr=1e-4)
        optimizer_c = torch.optim.Adam(critic.parameters(), lr=1e-4)
        real = torch.randn(32, 4)
        for step in range(100):
            optimizer_c.zero_grad()
            optimizer_g.zero_grad()
            fake = generator(torch.randn(32, 8))
            loss_c = critic(fake.detach()).mean() - critic(real).mean()
            loss_c.backward()
            optimizer_c.step()
            loss_g = -critic(generator(torch.randn(32, 8))).mean()
            loss_g.backward()
            optimizer_g.step()

    ## When it is fine
    A clear of the second network between the two backward passes, a detached output, and one
    loss that trains both networks are not reported; nor is an encoder that feeds the generator.

    ## Measured
    Not measured: the gradients of the two losses cannot be told apart once they are added.

    ## References
    - Goodfellow et al., "Generative Adversarial Networks", 2014
    - PyTorch tutorial, "DCGAN Tutorial"
    """

    code = "LOP028"
    slug = "gan-generator-graph-in-d"
    severity = Severity.WARNING
    fix = Applicability.UNSAFE
    confidence = Confidence.MEDIUM

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report the backward of another network's step that reaches into this optimizer's."""
        graph: FlowGraph | None = None
        places: set[Location] = set()
        for order in gradient_orders(program):
            owner = object_of(program, order.optimizer)
            if owner is None or not owner.parameters_of or len(order.loop.optimizers) < 2:
                continue
            graph = graph or FlowGraph(program)
            layers = submodules(program, owner.parameters_of)
            waiting: Occurrence | None = None
            leaked: Occurrence | None = None
            for occurrence in order.events:
                if occurrence.kind is EventKind.BACKWARD:
                    if leaked is not None and _reaches(graph, occurrence, layers):
                        if one_per_place(places, leaked.event.location):
                            name = name_of(owner, "the other optimizer")
                            yield self.finding(
                                leaked.event.location,
                                f"this also fills the gradients that `{name}` will step with, and "
                                "nothing clears them before its own backward adds to them",
                                help="detach the generated output in this loss, or clear the "
                                "gradients before the next backward",
                                fix=self.repair(
                                    "detach the generated output in this loss",
                                    _detached(program, graph, leaked, layers),
                                ),
                            )
                        break
                    waiting = occurrence if _reaches(graph, occurrence, layers) else None
                elif order.is_step(occurrence) or (
                    occurrence.kind is EventKind.ZERO_GRAD
                    and acts_on(program, occurrence.event, order.optimizer) is not Match.NO
                ):
                    waiting = leaked = None
                elif occurrence.kind in STEPS and waiting is not None:
                    # only a step of a network of its own that judges what this one makes shows
                    # that the two losses are separate
                    others = _layers_apart(program, occurrence, layers)
                    leaked = waiting if _takes_in(graph, waiting, others, layers) else None
                elif occurrence.kind is EventKind.UNKNOWN_CALL:
                    break


def _reaches(graph: FlowGraph, backward: Occurrence, layers: set[int]) -> bool:
    return any(
        flow.layer in layers
        for number in graph.attached_ancestors(backward.event.flow)
        if (flow := graph.get(number)) is not None
    )


def _layers_apart(program: TrainingProgram, step: Occurrence, layers: set[int]) -> set[int]:
    """What the other optimizer steps; empty when it is not known or shares some of ``layers``."""
    other = object_of(program, stepped_optimizer(step.event))
    if other is None or not other.parameters_of:
        return set()
    stepped = submodules(program, other.parameters_of)
    return set() if stepped & layers else stepped


def _takes_in(graph: FlowGraph, backward: Occurrence, taking: set[int], layers: set[int]) -> bool:
    """Whether in this loss a layer of ``taking`` works on what ``layers`` made.

    An encoder that feeds the generator is trained with it by one loss.
    """
    for number in graph.attached_ancestors(backward.event.flow):
        flow = graph.get(number)
        if flow is None or flow.layer not in taking:
            continue
        for behind in graph.attached_ancestors(number):
            made = graph.get(behind)
            if made is not None and made.layer in layers:
                return True
    return False


def _detached(
    program: TrainingProgram, graph: FlowGraph, backward: Occurrence, layers: set[int]
) -> Changes:
    """Detach what the other network takes in, where it is the generator's output by name."""
    places: set[Location] = set()
    for number in graph.attached_ancestors(backward.event.flow):
        flow = graph.get(number)
        if flow is None or flow.layer is None or flow.layer in layers or flow.location is None:
            continue
        if any((f := graph.get(n)) is not None and f.layer in layers for n in flow.inputs):
            places.add(flow.location)
    call = edits.call_at(program, places.pop()) if len(places) == 1 else None
    if call is None or len(call.arguments) != 1:
        return None
    return edits.call_method(program, call.arguments[0].value, ".detach()")
