"""LOP004: gradients of several batches are summed where their mean was meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Finding, Severity
from convlint.lazy_regex import lazy_regex
from convlint.program.facts import EventKind
from convlint.rules import Rule
from convlint.rules.patterns import loop_edits, statement_edits
from convlint.rules.patterns.flows import PLACEMENT_OPS, FlowGraph
from convlint.rules.patterns.loops import clearings, steps_of
from convlint.rules.patterns.ownership import is_managed, object_of, sole_optimizer
from convlint.rules.patterns.training_loops import training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.program.facts import Event, LossCall, TrainingProgram
    from convlint.rules import Changes
    from convlint.rules.patterns.training_loops import TrainingLoop


class AccumulationNotNormalised(Rule):
    """Gradients of several batches are added up and never averaged.

    ## What it does
    Reports a loop that steps and clears its only optimizer every few batches (`if i % k == 0`),
    back-propagates every batch, and does not divide the loss.

    ## Why it hurts
    The gradient is k times that of one batch, so the effective learning rate is k times the one
    that was chosen, and changing k changes the run.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for epoch in range(10):
            for i, (x, y) in enumerate(loader):
                loss = criterion(model(x), y)
                loss.backward()
                if (i + 1) % 4 == 0:
                    optimizer.step()
                    optimizer.zero_grad()

    ## Use instead
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for epoch in range(10):
            for i, (x, y) in enumerate(loader):
                loss = criterion(model(x), y) / 4
                loss.backward()
                if (i + 1) % 4 == 0:
                    optimizer.step()
                    optimizer.zero_grad()

    ## When it is fine
    A loss that is divided or scaled by anything, a summed loss, gradients rescaled by hand,
    `accelerator.accumulate`, delayed updates of one of several optimizers: none is reported.

    ## Measured
    Not measured: the probe does not know which accumulation was meant.

    ## References
    - Hugging Face Transformers, issue 34191, on the normalisation of accumulated gradients
    - PyTorch notes, "Automatic Mixed Precision examples", section on gradient accumulation
    """

    code = "LOP004"
    slug = "accumulation-not-normalised"
    severity = Severity.WARNING
    fix = Applicability.UNSAFE

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report every backward whose plain mean loss is accumulated over batches."""
        graph: FlowGraph | None = None
        for loop in training_loops(program):
            if is_managed(program, loop) or loop.has(EventKind.GRAD_WRITE):
                continue
            for optimizer in loop.optimizers:
                if not sole_optimizer(loop, optimizer) or not _accumulates(
                    program, loop, optimizer
                ):
                    continue
                graph = graph or FlowGraph(program)
                for backward in loop.of_kind(EventKind.BACKWARD):
                    if _is_plain_mean(program, graph, backward.event.flow):
                        yield self.finding(
                            backward.event.location,
                            "gradients of several batches are summed before each step, and the loss "
                            "is not divided by their number: the step grows with it",
                            help="divide the loss by the number of accumulated batches",
                            fix=self.repair(
                                "divide the loss by the number of accumulated batches",
                                _divided(program, loop, optimizer, backward.event),
                            ),
                        )


def _accumulates(program: TrainingProgram, loop: TrainingLoop, optimizer: int) -> bool:
    """Whether steps and clears stand under one test with ``%`` and every backward under none."""
    backwards = loop.of_kind(EventKind.BACKWARD)
    if len(backwards) != 1 or backwards[0].conditions or backwards[0].loops:
        return False
    if "accelerate" in backwards[0].event.flags or {"accumulate", "no_sync"} & {
        *backwards[0].event.context
    }:
        return False
    if any("hand-written" in o.event.flags for o in loop.of_kind(EventKind.CLIP)):
        return False
    steps = steps_of(loop, optimizer)
    cleared = clearings(program, loop, optimizer)
    tests = {o.conditions for o in (*steps, *cleared)}
    return bool(steps and cleared) and len(tests) == 1 and steps[0].modulo


def _is_plain_mean(program: TrainingProgram, graph: FlowGraph, number: int | None) -> bool:
    """Whether nothing but additions lies between averaging loss calls and the backward."""
    losses = {loss.flow: loss for loss in program.losses}
    found = graph.origins(number, PLACEMENT_OPS | {"scaled"})
    return bool(found) and all(
        flow.id in losses and _averages(losses[flow.id], program) for flow in found
    )


def _averages(loss: LossCall, program: TrainingProgram) -> bool:
    criterion = object_of(program, loss.object)
    reduction = (criterion.args if criterion is not None else loss.args).get("reduction")
    return reduction is None or reduction.constant == "mean"


_COUNT = lazy_regex(r"%\s*([\w.]+)\s*(?:==|!=)")


def _divided(
    program: TrainingProgram, loop: TrainingLoop, optimizer: int, backward: Event
) -> Changes:
    """Divide by the ``k`` of ``if (i + 1) % k == 0``, where all tests name the same one."""
    tests = {
        match.group(1)
        for step in steps_of(loop, optimizer)
        for condition in step.conditions
        if (match := _COUNT.search(condition.text)) is not None
    }
    if len(tests) != 1:
        return None
    step = steps_of(loop, optimizer)[0].event
    if not statement_edits.same_function(program, backward.location, step.location):
        return None
    return loop_edits.divide_loss(program, backward, tests.pop())
