"""LOP034: a step changes weights that a later backward still needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.program.facts import EventKind
from convlint.rules import Rule
from convlint.rules.patterns.flows import FlowGraph, one_per_place
from convlint.rules.patterns.orders import gradient_orders
from convlint.rules.patterns.ownership import name_of, object_of, submodules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram


class GraphReusedAfterStep(Rule):
    """A step changes weights between two backward passes of one forward pass.

    ## What it does
    Reports `optimizer.step()` between two `backward()` calls that go through the same output of
    a layer that this optimizer updates.

    ## Why it hurts
    The second backward needs the weights as they were in the forward pass. PyTorch raises an
    error about a variable modified in place.

    ## Example
        import torch
        from torch import nn

        generator = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
        critic = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1))
        optimizer_g = torch.optim.Adam(generator.parameters(), lr=1e-4)
        optimizer_c = torch.optim.Adam(critic.parameters(), lr=1e-4)
        real = torch.randn(32, 4)
        for step in range(100):
            fake = generator(torch.randn(32, 8))
            score = critic(fake)
            optimizer_c.zero_grad()
            loss_c = score.mean() - critic(real).mean()
            loss_c.backward(retain_graph=True)
            optimizer_c.step()
            optimizer_g.zero_grad()
            loss_g = -score.mean()
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
            fake = generator(torch.randn(32, 8))
            optimizer_c.zero_grad()
            loss_c = critic(fake.detach()).mean() - critic(real).mean()
            loss_c.backward()
            optimizer_c.step()
            optimizer_g.zero_grad()
            loss_g = -critic(fake).mean()
            loss_g.backward()
            optimizer_g.step()

    ## When it is fine
    A fresh forward pass between the step and the second backward, and detached outputs, are not
    reported.

    ## Measured
    Not measured: the run stops with PyTorch's error.

    ## References
    - PyTorch notes, "Autograd mechanics", section on in-place correctness checks
    """

    code = "LOP034"
    slug = "graph-reused-after-step"
    severity = Severity.ERROR

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report backwards through layers that were stepped since their forward."""
        graph: FlowGraph | None = None
        places: set[Location] = set()
        for order in gradient_orders(program):
            owner = object_of(program, order.optimizer)
            if owner is None or not owner.parameters_of or len(order.loop.optimizers) < 2:
                continue
            graph = graph or FlowGraph(program)
            layers = submodules(program, owner.parameters_of)
            used: set[int] = set()
            stepped: set[int] = set()
            for occurrence in order.events:
                if order.is_step(occurrence):
                    stepped |= used
                elif occurrence.kind is EventKind.BACKWARD:
                    through = {
                        number
                        for number in graph.attached_ancestors(occurrence.event.flow)
                        if (flow := graph.get(number)) is not None and flow.layer in layers
                    }
                    if through & stepped and one_per_place(places, occurrence.event.location):
                        name = name_of(owner, "the optimizer")
                        yield self.finding(
                            occurrence.event.location,
                            f"this goes back through outputs computed before `{name}.step()` "
                            "changed the weights",
                            help="run the forward pass again after the step",
                        )
                    used |= through
