"""AMP003: a gradient scaler steps, but never adapts its scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Finding, Severity
from convlint.program.facts import EventKind
from convlint.rules import Rule
from convlint.rules.patterns import edits, statement_edits
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.ownership import is_managed, name_of, object_of
from convlint.rules.patterns.paths import occurrences
from convlint.rules.patterns.scaling import is_torch_scaler
from convlint.rules.patterns.training_loops import training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram
    from convlint.rules import Changes
    from convlint.rules.patterns.paths import Occurrence
    from convlint.rules.patterns.training_loops import TrainingLoop


class ScalerUpdateMissing(Rule):
    """A gradient scaler steps, but its `update()` is never called.

    ## What it does
    Reports a loop with `scaler.step(optimizer)` in which `scaler.update()` never happens.

    ## Why it hurts
    The scale stays where it started. When it is too large every step overflows and is skipped, so
    the model never moves; PyTorch also refuses a second `unscale_` without the update.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2)).cuda()
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scaler = torch.amp.GradScaler("cuda")
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                with torch.autocast("cuda", dtype=torch.float16):
                    loss = criterion(model(x.cuda()), y.cuda())
                scaler.scale(loss).backward()
                scaler.step(optimizer)

    ## Use instead
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2)).cuda()
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scaler = torch.amp.GradScaler("cuda")
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                with torch.autocast("cuda", dtype=torch.float16):
                    loss = criterion(model(x.cuda()), y.cuda())
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()

    ## When it is fine
    A scaler that is switched off, or handed to a helper that updates it: neither is reported.

    ## Measured
    Not measured: a machine without the device switches the scaler off.

    ## References
    - PyTorch documentation, `torch.amp.GradScaler`
    """

    code = "AMP003"
    slug = "scaler-update-missing"
    severity = Severity.ERROR
    fix = Applicability.UNSAFE
    unmeasured_because = "the probe does not record updates of the scale"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report scalers that step in a loop nest in which nothing updates them."""
        places: set[Location] = set()
        for loop in training_loops(program):
            if is_managed(program, loop):
                continue
            for step in loop.of_kind(EventKind.SCALER_STEP):
                scaler = object_of(program, step.event.target)
                if scaler is None or scaler.escaped or not is_torch_scaler(program, scaler.id):
                    continue
                if _may_be_updated(loop, scaler.id) or not one_per_place(
                    places, step.event.location
                ):
                    continue
                name = name_of(scaler, "scaler")
                yield self.finding(
                    step.event.location,
                    f"`{name}` steps here, but `{name}.update()` is never called: its scale never "
                    "adapts to overflow",
                    help=f"call `{name}.update()` after the step",
                    fix=self.repair(
                        "update the scale after the last step",
                        _updated(program, loop, scaler.id),
                    ),
                )


def _may_be_updated(loop: TrainingLoop, scaler: int) -> bool:
    outermost = loop.nest[0]
    return outermost.incomplete or any(
        _updates(occurrence, scaler) for occurrence in occurrences(outermost.body)
    )


def _updates(occurrence: Occurrence, scaler: int) -> bool:
    event = occurrence.event
    if event.kind is EventKind.SCALER_UPDATE:
        return event.target in (scaler, None)
    return event.kind is EventKind.UNKNOWN_CALL and scaler in (*event.escapes, event.target)


def _updated(program: TrainingProgram, loop: TrainingLoop, scaler: int) -> Changes:
    steps = [o for o in loop.of_kind(EventKind.SCALER_STEP) if o.event.target == scaler]
    place = steps[-1].event.location
    name = edits.receiver_of(program, place)
    statement = statement_edits.own_statement(program, place)
    return statement_edits.insert_after(
        program, statement, None if name is None else f"{name}.update()"
    )
