"""NRM004: one activation directly after another."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from convlint.findings import Applicability, Evidence, Finding, Related, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.flows import PLACEMENT_OPS, FlowGraph
from convlint.rules.patterns.layers import ACTIVATION_OPS, DROPOUT_OPS, Architecture, canonical

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import Flow, Model, TrainingProgram
    from convlint.rules import Changes

SOFTMAX = frozenset({"softmax", "log_softmax", "softmin", "softmax2d"})
GATES = frozenset({"sigmoid", "hardsigmoid"})
"""Between 0 and 1. Where it only weighs other values, what comes before it is its designer's choice:
a gate that never closes below one half still weighs."""
SCORING = frozenset({"tanh", "leaky_relu"})
"""Activations of attention scores, which a softmax turns into weights (additive attention, graph
attention)."""
IDEMPOTENT = frozenset({"relu", "relu6", "hardtanh"})
_MISH_GATE = ("softplus", "tanh")
"""Mish written out: ``x * tanh(softplus(x))``. tanh of a softplus runs from 0 to 1 as a gate does."""


class StackedActivations(Rule):
    """An activation is applied to the output of another activation.

    ## What it does
    Reports two activations in a row in a model's forward, with nothing but dropout or a change of
    type between them.

    ## Why it hurts
    The second one sees only what the first lets through: after a ReLU a sigmoid never falls below
    one half, and a softmax over rectified scores cannot rule a class out. The gradient passes two
    saturations for nothing.

    ## Example
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 1), nn.ReLU(), nn.Sigmoid())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## Use instead
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 1), nn.Sigmoid())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## When it is fine
    A softmax over attention scores, whatever made them; a sigmoid that only weighs other values; a
    ReLU after a ReLU changes nothing.

    ## Measured
    `convlint probe` measures dead and saturated units at every activation.

    ## References
    - Nikanjam et al., Automatic fault detection for deep learning programs using graph
      transformations, 2021
    """

    code, slug, severity = "NRM004", "stacked-activations", Severity.WARNING
    fix = Applicability.UNSAFE
    unmeasured_because = "two activations in a row are a matter of structure, not of size"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per activation whose input is an activation's output."""
        graph = FlowGraph(program)
        reported: set[Location] = set()
        for model in program.models:
            for first, second in (*_in_forward(graph, model), *_in_sequence(program, model)):
                if second.location is None or second.location in reported:
                    continue
                if not _clash(first.op, second.op):
                    continue
                reported.add(second.location)
                dropped = first if second.op in SHAPES_OUTPUT else second
                related: tuple[Related, ...] = ()
                if first.location is not None:
                    related = (Related(first.location, f"the {first.op} is applied here"),)
                yield self.finding(
                    second.location,
                    f"{second.op} is applied directly to the output of {first.op}",
                    help="drop one of the two activations",
                    fix=self.repair(
                        f"drop the {dropped.op}", _dropped(program, dropped.op, dropped.location)
                    ),
                    related=related,
                    evidence=(Evidence("static", f"{first.op} → {second.op}, nothing between"),),
                )


class _Applied(NamedTuple):
    """An operation and where it is written."""

    op: str
    location: Location | None


def _in_forward(graph: FlowGraph, model: Model) -> Iterator[tuple[_Applied, _Applied]]:
    """Neighbours in an analysed forward."""
    for output in model.outputs if model.forward_known else ():
        returned = {flow.id for flow in graph.origins(output)}
        for second in graph.ancestors(output):
            if second.op in SOFTMAX and second.id not in returned:
                continue  # weights of an attention or of an adjacency, not class probabilities
            if second.op in GATES and _only_weighs(graph, second):
                continue
            if second.op in ACTIVATION_OPS and second.inputs:
                origins = graph.origins(second.inputs[0], PLACEMENT_OPS | DROPOUT_OPS)
                if len(origins) == 1:
                    first = origins[0]
                    yield _Applied(first.op, first.location), _Applied(second.op, second.location)


def _only_weighs(graph: FlowGraph, flow: Flow) -> bool:
    """Whether the value does nothing but multiply others."""
    users = graph.users(flow)
    return bool(users) and all(user.op == "mul" and len(user.inputs) > 1 for user in users)


def _in_sequence(program: TrainingProgram, model: Model) -> Iterator[tuple[_Applied, _Applied]]:
    """Neighbours in a bare Sequential."""
    layers = [
        _Applied(canonical(layer.cls), layer.location)
        for layer in Architecture(program, model).sequence
    ]
    yield from pairwise(layer for layer in layers if layer.op not in DROPOUT_OPS)


def _clash(first: str, second: str) -> bool:
    """Whether applying ``second`` to the output of ``first`` is a fault."""
    if first not in ACTIVATION_OPS or second not in ACTIVATION_OPS:
        return False
    if (first == second and first in IDEMPOTENT) or (first, second) == _MISH_GATE:
        return False
    return not (first in SCORING and second in SOFTMAX)


SHAPES_OUTPUT = SOFTMAX | {"sigmoid", "log_softmax", "tanh"}
"""What an output is meant to go through; the rectifier before it is the one too many."""


def _dropped(program: TrainingProgram, op: str, place: Location | None) -> Changes:
    if place is not None and any(layer.location == place for layer in program.objects):
        return edits.drop_layer(program, place)
    made = [flow for flow in program.flows if flow.op == op and flow.location == place]
    return edits.drop_operation(program, made[0]) if made else None
