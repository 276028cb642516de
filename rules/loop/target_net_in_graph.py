"""LOP029: gradients flow into the bootstrapped target of a value loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Confidence, Finding, Related, Severity
from convlint.program.facts import ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.flows import FlowGraph, objects_by_id, one_per_place
from convlint.rules.patterns.gradients import Gradients
from convlint.rules.patterns.ownership import submodules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import Flow, TrainingProgram, Value
    from convlint.rules import Changes

REGRESSIONS = frozenset({"mse_loss", "smooth_l1_loss", "huber_loss", "l1_loss"})
SQUARES = frozenset({"pow", "square"})
SMALLEST_DISCOUNT = 0.8
"""A discount weighs the future nearly as much as the present: 0.9 to 0.999 in practice."""


class TargetNetInGraph(Rule):
    """Gradients flow into the bootstrapped target of a value loss.

    ## What it does
    Reports a regression of a network's value on `reward + gamma * network(next_state)` whose
    target was computed with gradient.

    ## Why it hurts
    Temporal-difference learning moves the prediction towards the target. With gradient through
    both, the network can also make the loss smaller by moving the target: it settles on values that
    agree with each other and not with the rewards.

    ## Example
        import torch
        from torch import nn
        import torch.nn.functional as F

        q = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
        optimizer = torch.optim.Adam(q.parameters(), lr=1e-3)
        gamma = 0.99
        for step in range(1000):
            state, after = torch.randn(32, 4), torch.randn(32, 4)
            action, reward = torch.randint(0, 2, (32, 1)), torch.randn(32)
            target = reward + gamma * q(after).max(1)[0]
            loss = F.mse_loss(q(state).gather(1, action).squeeze(1), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    ## Use instead
        import torch
        from torch import nn
        import torch.nn.functional as F

        q = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
        optimizer = torch.optim.Adam(q.parameters(), lr=1e-3)
        gamma = 0.99
        for step in range(1000):
            state, after = torch.randn(32, 4), torch.randn(32, 4)
            action, reward = torch.randint(0, 2, (32, 1)), torch.randn(32)
            with torch.no_grad():
                target = reward + gamma * q(after).max(1)[0]
            loss = F.mse_loss(q(state).gather(1, action).squeeze(1), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    ## When it is fine
    Targets computed under `no_grad` or detached are not reported, nor are networks whose parameters
    are frozen. A separate target network that no optimizer trains costs time and memory but spoils
    nothing: that is reported as info. Residual-gradient methods want the gradient; suppress there.

    ## Measured
    Not measured: the loss falls as it should, only to the wrong values.

    ## References
    - Sutton and Barto, "Reinforcement Learning", section 11.5 (semi-gradient methods)
    - Mnih et al., "Human-level control through deep reinforcement learning", 2015
    """

    code = "LOP029"
    slug = "target-net-in-graph"
    severity = Severity.WARNING
    fix = Applicability.UNSAFE
    confidence = Confidence.MEDIUM
    unmeasured_because = "the loss falls as it should, only to the wrong values"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report each back-propagated regression between two values that both carry gradient."""
        graph = FlowGraph(program)
        gradients = Gradients(program, graph)
        trained: set[int] | None = None
        places: set[Location] = set()
        for loss, one, other in _regressions(program, graph):
            if not (gradients.carries(one) and gradients.carries(other)):
                continue
            if not gradients.is_trained(loss.id) or loss.location is None:
                continue
            for side, prediction in ((one, other), (other, one)):
                network = _bootstrapped(program, graph, side)
                if network is None or _bootstrapped(program, graph, prediction) is not None:
                    continue
                if trained is None:
                    trained = _trained(program)
                if network.layer in _frozen(program) or not one_per_place(places, loss.location):
                    break
                learns = network.layer in trained
                yield self.finding(
                    loss.location,
                    "the target of this loss was computed with gradient, so training also moves the "
                    "target towards the prediction"
                    if learns
                    else "the target of this loss was computed with gradient, which costs a backward "
                    "through a network that no optimizer trains",
                    help="compute the target under `torch.no_grad()`, or detach it",
                    severity=None if learns else Severity.INFO,
                    fix=self.repair(
                        "detach the target",
                        _detached(program, loss.location, 0 if side == one else 1),
                    ),
                    related=(Related(network.location, "the network in the target"),)
                    if network.location
                    else (),
                )
                break


def _regressions(program: TrainingProgram, graph: FlowGraph) -> Iterator[tuple[Flow, int, int]]:
    """Every regression loss as its flow and the two values it compares."""
    for call in program.losses:
        flow = graph.get(call.flow)
        if call.name in REGRESSIONS and flow and call.input is not None and call.target is not None:
            yield flow, call.input, call.target
    for flow in program.flows:
        if flow.op not in SQUARES or flow.detached or len(flow.inputs) != 1:
            continue
        difference = graph.get(flow.inputs[0])
        if difference is not None and difference.op == "sub" and len(difference.inputs) == 2:
            yield flow, difference.inputs[0], difference.inputs[1]


def _bootstrapped(program: TrainingProgram, graph: FlowGraph, number: int) -> Flow | None:
    """The network applied in ``reward + discount * network(...)``, with gradient, or None."""
    for total in graph.origins(number):
        if total.op != "add" or total.detached:
            continue
        for operand in total.inputs:
            network = _discounted(program, graph, operand)
            if network is not None:
                return network
    return None


def _discounted(program: TrainingProgram, graph: FlowGraph, number: int) -> Flow | None:
    """The network whose value this product discounts."""
    discounted = False
    pending = [number]
    seen: set[int] = set()
    objects = objects_by_id(program)
    while pending:
        flow = graph.get(pending.pop(0))
        if flow is None or flow.id in seen or flow.detached:
            continue
        seen.add(flow.id)
        if flow.op == "mul":
            discounted = discounted or any(map(_is_discount, flow.args.values()))
        elif flow.layer is not None:
            layer = objects.get(flow.layer)
            if discounted and layer and layer.kind in (ObjectKind.LAYER, ObjectKind.MODEL):
                return flow
            return None
        pending.extend(flow.inputs)
    return None


def _is_discount(value: Value) -> bool:
    return value.number is not None and SMALLEST_DISCOUNT <= value.number < 1


def _trained(program: TrainingProgram) -> set[int]:
    return submodules(
        program,
        (
            number
            for item in program.objects
            if item.kind is ObjectKind.OPTIMIZER
            for number in item.parameters_of or ()
        ),
    )


def _frozen(program: TrainingProgram) -> set[int]:
    return {
        number
        for switch in program.switches
        if switch.trainable is False and switch.whole
        for number in submodules(program, switch.modules)
    }


def _detached(program: TrainingProgram, loss: Location, position: int) -> Changes:
    """Detach one argument of a loss; not of a difference written by hand."""
    call = edits.call_at(program, loss)
    if call is None or len(call.arguments) < 2:
        return None
    target = call.argument(("input", "target")[position], position)
    return None if target is None else edits.call_method(program, target.value, ".detach()")
