"""LOP003: gradients are cleared once per epoch although the optimizer steps once per batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Finding, Related, Severity
from convlint.program.facts import ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns import loop_edits, statement_edits
from convlint.rules.patterns.loops import (
    backward_before_step,
    clearings,
    clearings_around,
    demands_clearing,
    runs_once,
    steps_of,
)
from convlint.rules.patterns.ownership import absence_confidence, name_of, object_of
from convlint.rules.patterns.training_loops import training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.program.facts import Loop, TrainingProgram
    from convlint.rules import Changes
    from convlint.rules.patterns.paths import Occurrence
    from convlint.rules.patterns.training_loops import TrainingLoop


class ZeroGradPerEpoch(Rule):
    """Gradients are cleared once per epoch although the optimizer steps once per batch.

    ## What it does
    Reports a training loop that steps an optimizer in every batch while its gradients are cleared
    only in the epoch loop around it, or only in the first batch.

    ## Why it hurts
    PyTorch *adds* to `.grad`. Within the epoch every step follows the sum of all gradients since
    the last clear, so the effective step grows from batch to batch and points to where the loss
    used to fall.

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
            optimizer.zero_grad()
            for x, y in loader:
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()

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
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()

    ## When it is fine
    Accumulation, where the step itself waits (`if i % k == 0`), and full-batch training, where
    the step stands in the epoch loop beside the clear. Neither is reported.

    ## Measured
    The measurement of zero-grad-missing decides: gradients left from before the previous step.

    ## References
    - PyTorch documentation, `torch.optim.Optimizer.zero_grad`
    """

    code = "LOP003"
    slug = "zero-grad-per-epoch"
    severity = Severity.ERROR
    fix = Applicability.UNSAFE
    confirmed_by = ("zero-grad-missing",)

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report optimizers cleared outside of the loop that steps them, or only at its start."""
        for loop in training_loops(program):
            for optimizer in loop.optimizers:
                if not demands_clearing(program, loop, optimizer):
                    continue
                inside = clearings(program, loop, optimizer)
                if any(not clear.first_iteration for clear in inside):
                    continue
                rare = inside or clearings_around(program, loop, optimizer)
                if not rare or not _steps_every_iteration(program, loop, optimizer):
                    continue
                yield self._finding(program, loop, optimizer, rare[0])

    def _finding(
        self, program: TrainingProgram, loop: TrainingLoop, optimizer: int, clear: Occurrence
    ) -> Finding:
        name = name_of(object_of(program, optimizer), "the optimizer")
        when = "only in the first iteration" if clear.first_iteration else "only outside this loop"
        return self.finding(
            backward_before_step(loop, optimizer).location,
            f"`{name}` steps in every iteration, but its gradients are cleared {when}, so they "
            "pile up from step to step",
            help=f"call `{name}.zero_grad()` inside this loop, once per step",
            confidence=absence_confidence(program, loop, optimizer),
            related=(Related(clear.event.location, "gradients are cleared here"),),
            fix=self.repair(
                "clear the gradients in every iteration",
                _moved_inside(program, loop, clear)
                or loop_edits.clear_first(
                    program, loop, optimizer, backward_before_step(loop, optimizer)
                ),
            ),
        )


def _steps_every_iteration(program: TrainingProgram, loop: TrainingLoop, optimizer: int) -> bool:
    """Whether the loop runs over batches and its step waits for nothing."""
    if _iterates_loader(program, loop.epoch_loop) or runs_once(loop, optimizer):
        # a few steps on each batch of an outer batch loop: the clear per batch may be meant
        return False
    return any(not step.conditional and not step.loops for step in steps_of(loop, optimizer))


def _iterates_loader(program: TrainingProgram, loop: Loop | None) -> bool:
    if loop is None:
        return False
    over = object_of(program, loop.over.object)
    return over is not None and over.kind is ObjectKind.LOADER


def _moved_inside(program: TrainingProgram, loop: TrainingLoop, clear: Occurrence) -> Changes:
    """Move the one unconditional clear into the loop, when both are in the same function."""
    place = clear.event.location
    if clear.conditional or not statement_edits.same_function(program, place, loop.loop.location):
        return None
    inner = statement_edits.compound_at(program, loop.loop.location)
    return statement_edits.move(
        program, statement_edits.lone_call(program, place), at_start_of=inner
    )
