"""AMP002: a scaled loss is back-propagated and the optimizer is stepped directly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Finding, Related, Severity
from convlint.program.facts import EventKind, ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns import edits, statement_edits
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.orders import gradient_orders
from convlint.rules.patterns.ownership import Match, acts_on, name_of, object_of
from convlint.rules.patterns.scaling import is_torch_scaler, scaled_backward_before

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram
    from convlint.rules import Changes


class ScaledLossPlainStep(Rule):
    """A scaled loss is back-propagated, but the optimizer is stepped directly.

    ## What it does
    Reports `optimizer.step()` after `scaler.scale(loss).backward()` with neither
    `scaler.step(optimizer)` nor `scaler.unscale_(optimizer)` in between.

    ## Why it hurts
    The gradients are up to 65536 times too large when the step uses them, and infinities of
    overflowed batches are not skipped: one of them turns every weight into NaN.

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
                optimizer.step()
                scaler.update()

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
    `if use_amp: ... else: ...` with one pair per branch, a scaler that is switched off, gradients
    unscaled by hand before the step: none is reported.

    ## Measured
    Not measured: a machine without the device switches the scaler off.

    ## References
    - PyTorch notes, "Automatic Mixed Precision examples"
    - Micikevicius et al., "Mixed Precision Training", 2018
    """

    code = "AMP002"
    slug = "scaled-loss-plain-step"
    severity = Severity.ERROR
    fix = Applicability.UNSAFE
    unmeasured_because = "the probe does not tell scaled from unscaled gradients"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report plain steps on paths whose last backward had its loss scaled."""
        scalers = [o.id for o in program.objects if o.kind is ObjectKind.SCALER]
        if scalers and not all(is_torch_scaler(program, scaler) for scaler in scalers):
            return
        places: set[Location] = set()
        for order in gradient_orders(program):
            for index, step in enumerate(order.events):
                if step.kind is not EventKind.STEP or not order.is_step(step):
                    continue
                start = scaled_backward_before(order.events, index)
                if start is None or any(
                    o.kind in (EventKind.UNKNOWN_CALL, EventKind.GRAD_WRITE)
                    or (
                        o.kind in (EventKind.UNSCALE, EventKind.SCALER_STEP)
                        and acts_on(program, o.event, order.optimizer) is not Match.NO
                    )
                    for o in order.events[start + 1 : index]
                ):
                    continue
                if not one_per_place(places, step.event.location):
                    continue
                name = name_of(object_of(program, order.optimizer), "optimizer")
                yield self.finding(
                    step.event.location,
                    f"`{name}.step()` uses gradients that still carry the scale of the loss",
                    help=f"call `scaler.step({name})` instead",
                    related=(
                        Related(order.events[start].event.location, "the loss is scaled here"),
                    ),
                    fix=self.repair(
                        "let the scaler step",
                        _through_scaler(
                            program, step.event.location, order.events[start].event.location
                        ),
                    ),
                )


def _through_scaler(program: TrainingProgram, step: Location, backward: Location) -> Changes:
    """``optimizer.step()`` to ``scaler.step(optimizer)``, the scaler named as at the backward."""
    optimizer = edits.receiver_of(program, step)
    call, plain = edits.call_at(program, backward), edits.call_at(program, step)
    scaled = edits.call_at(program, None if call is None else call.receiver)
    if optimizer is None or plain is None or scaled is None or scaled.method != "scale":
        return None
    scaler = edits.receiver_of(program, scaled.place)
    if (
        scaler is None
        or plain.arguments
        or not statement_edits.same_function(program, step, backward)
    ):
        return None
    return edits.replace(step, f"{scaler}.step({optimizer})")
