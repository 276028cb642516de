"""LOP040: what the trained model predicts never reaches the loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Confidence, Finding, Related, Severity
from convlint.program.facts import EventKind, ObjectKind, Value
from convlint.rules import Rule
from convlint.rules.patterns.flows import FlowGraph, one_per_place
from convlint.rules.patterns.loops import backward_before_step
from convlint.rules.patterns.ownership import (
    is_managed,
    name_of,
    object_of,
    submodules,
    unseen_hands,
    uses_closure,
)
from convlint.rules.patterns.training_loops import training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import Event, Object, TrainingProgram
    from convlint.rules.patterns.training_loops import TrainingLoop

SOURCES = frozenset({"<batch>", "<array>", "<constant>"})
"""What is known to hold no prediction of the model."""


class UnusedPrediction(Rule):
    """What the trained model predicts never reaches the loss.

    ## What it does
    Reports a training loop that applies the model its optimizer trains, and back-propagates a loss
    that does not depend on any of its outputs.

    ## Why it hurts
    The model gets no gradient, so it never changes. Often a name was mistyped: the loss compares
    the teacher with the labels, or another model's output with itself.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        teacher = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 2))
        student = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        optimizer = torch.optim.Adam(student.parameters(), lr=1e-3)
        for x, y in loader:
            optimizer.zero_grad()
            taught = teacher(x)
            learned = student(x)
            loss = nn.functional.cross_entropy(taught, y)
            loss.backward()
            optimizer.step()

    ## Use instead
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        teacher = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 2))
        student = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        optimizer = torch.optim.Adam(student.parameters(), lr=1e-3)
        for x, y in loader:
            optimizer.zero_grad()
            taught = teacher(x)
            learned = student(x)
            loss = nn.functional.cross_entropy(learned, y)
            loss.backward()
            optimizer.step()

    ## When it is fine
    Outputs beside others that do reach the loss (an auxiliary head, a second forward to log) and
    losses of which some part could not be followed are not reported.

    ## Measured
    `convlint probe` confirms it when the model's parameters get no gradient on any held batch
    (`parameter-without-gradient`).

    ## References
    - PyTorch documentation, "Autograd mechanics"
    """

    code = "LOP040"
    slug = "unused-prediction"
    severity = Severity.ERROR
    confidence = Confidence.MEDIUM
    confirmed_by = ("parameter-without-gradient",)
    unmeasured_because = "the probe did not see which parameters get a gradient"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report the backward of a loss that depends on no output of a model it should train."""
        graph: FlowGraph | None = None
        places: set[Location] = set()
        for loop in training_loops(program):
            if is_managed(program, loop) or loop.loop.incomplete or loop.has(EventKind.GRAD_WRITE):
                continue
            for optimizer in loop.optimizers:
                owner = object_of(program, optimizer)
                if owner is None or not owner.parameters_of or uses_closure(loop, optimizer):
                    continue
                graph = graph or FlowGraph(program)
                behind = _behind_losses(program, graph, loop)
                if behind is None or unseen_hands(
                    program, loop.occurrences, optimizer, incomplete=False
                ):
                    continue
                unused = _unused_forward(program, loop, owner, behind)
                if unused is None:
                    continue
                backward = backward_before_step(loop, optimizer)
                if one_per_place(places, backward.location):
                    name = name_of(object_of(program, unused.target), "the model")
                    yield self.finding(
                        backward.location,
                        f"this loss does not depend on what `{name}` predicts, so "
                        f"`{name_of(owner, 'the optimizer')}` has no gradient to train it with",
                        help=f"compute the loss from the output of `{name}`",
                        related=(Related(unused.location, "the prediction that is not used"),),
                    )


def _behind_losses(
    program: TrainingProgram, graph: FlowGraph, loop: TrainingLoop
) -> set[int] | None:
    """The modules that compute what this loop back-propagates; None when some of it is unknown."""
    modules: set[int] = set()
    for backward in loop.of_kind(EventKind.BACKWARD):
        if graph.get(backward.event.flow) is None:
            return None
        for flow in graph.ancestors(backward.event.flow):
            if flow.layer is not None:
                modules.add(flow.layer)
            if flow.op.startswith("<") and flow.op not in SOURCES and flow.op != "<join>":
                return None
            # an operand that is not known may be the model's output
            if not flow.inputs and flow.op not in SOURCES:
                return None
            if any(not _is_known(value) for value in flow.args.values()):
                return None
    return modules


def _is_known(value: Value) -> bool:
    return bool(value.candidates or value.items or value.name) or (
        value.object is not None or value.flow is not None
    )


def _unused_forward(
    program: TrainingProgram, loop: TrainingLoop, owner: Object, behind: set[int]
) -> Event | None:
    """The forward, with gradient, of a model this optimizer trains, none of whose parts computes
    the loss."""
    for number in owner.parameters_of or ():
        parts = submodules(program, (number,))
        root = object_of(program, number)
        if root is None or root.kind not in (ObjectKind.MODEL, ObjectKind.LAYER) or parts & behind:
            continue
        for forward in loop.of_kind(EventKind.FORWARD):
            if forward.event.target == number and "no_grad" not in forward.event.context:
                return forward.event
    return None
