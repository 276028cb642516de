"""LOP037: accumulated gradients are cleared before the step that should use them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Finding, Related, Severity
from convlint.program.facts import EventKind
from convlint.rules import Rule
from convlint.rules.patterns import statement_edits
from convlint.rules.patterns.loops import steps_of
from convlint.rules.patterns.ownership import Match, acts_on, is_managed, sole_optimizer
from convlint.rules.patterns.training_loops import training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.program.facts import TrainingProgram


class ZeroGradInsideAccumulation(Rule):
    """Gradients are cleared with every batch although the step waits for several.

    ## What it does
    Reports a loop that steps its only optimizer under a test with `%` but clears the gradients
    in every iteration.

    ## Why it hurts
    The gradients of all batches but the last are thrown away. The run computes k batches to
    learn from one.

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
                optimizer.zero_grad()
                loss = criterion(model(x), y) / 4
                loss.backward()
                if (i + 1) % 4 == 0:
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
            for i, (x, y) in enumerate(loader):
                loss = criterion(model(x), y) / 4
                loss.backward()
                if (i + 1) % 4 == 0:
                    optimizer.step()
                    optimizer.zero_grad()

    ## When it is fine
    Clearing another network's gradients, delayed updates whose backward stands under the same
    test, libraries that decide when a clear takes effect: none is reported.

    ## Measured
    Not measured on its own: the order of events shows in `zero-grad-kills-gradient`.

    ## References
    - PyTorch notes, "Automatic Mixed Precision examples", section on gradient accumulation
    """

    code = "LOP037"
    slug = "zero-grad-inside-accumulation"
    severity = Severity.ERROR
    fix = Applicability.UNSAFE

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report unconditional clears in loops whose steps are not."""
        for loop in training_loops(program):
            if is_managed(program, loop):
                continue
            backwards = loop.of_kind(EventKind.BACKWARD)
            if any(
                o.conditions or o.loops or {"accumulate", "no_sync"} & {*o.event.context}
                for o in backwards
            ):
                continue
            for optimizer in loop.optimizers:
                steps = steps_of(loop, optimizer)
                if not sole_optimizer(loop, optimizer) or not all(o.modulo for o in steps):
                    continue
                clear = next(
                    (
                        o
                        for o in loop.of_kind(EventKind.ZERO_GRAD)
                        if not o.conditional
                        and not o.loops
                        and acts_on(program, o.event, optimizer) is Match.YES
                        and "managed" not in o.event.flags
                    ),
                    None,
                )
                if clear is not None:
                    yield self.finding(
                        clear.event.location,
                        "gradients are cleared in every iteration but applied only in some, so those "
                        "of the other batches are lost",
                        help="clear them under the same test as the step, after it",
                        related=(Related(steps[0].event.location, "applied only here"),),
                        fix=self.repair(
                            "clear the gradients after the step",
                            statement_edits.move(
                                program,
                                statement_edits.lone_call(program, clear.event.location),
                                after=statement_edits.lone_call(program, steps[0].event.location),
                            )
                            if len(steps) == 1
                            and statement_edits.same_function(
                                program, clear.event.location, steps[0].event.location
                            )
                            else None,
                        ),
                    )
