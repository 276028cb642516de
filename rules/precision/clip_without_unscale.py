"""AMP001: gradients are clipped while they still carry the scale of the loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Finding, Related, Severity
from convlint.predictions import Prediction
from convlint.program.facts import EventKind
from convlint.rules import Rule
from convlint.rules.patterns import edits, loop_edits, statement_edits
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.happened import (
    before_each_step,
    judged_orders,
    order_evidence,
    order_reading,
)
from convlint.rules.patterns.orders import gradient_orders
from convlint.rules.patterns.ownership import Match, acts_on, concerns, name_of, object_of
from convlint.rules.patterns.places import place_to_location
from convlint.rules.patterns.scaling import (
    computes_in_bfloat16,
    is_torch_scaler,
    scaled_backward_before,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.gpu_probes.observations import Observations
    from convlint.program.facts import Event, TrainingProgram
    from convlint.rules import Changes
    from convlint.rules.patterns.orders import Order
    from convlint.rules.patterns.paths import Occurrence

SCALER_SEEN = "GradScaler"
"""The name under which the probe reports that an enabled gradient scaler was at work."""


class ClipWithoutUnscale(Rule):
    """Gradients are clipped while they still carry the scale of the loss.

    ## What it does
    Reports clipping between the backward of a scaled loss and `scaler.step(optimizer)` without
    `scaler.unscale_(optimizer)` before it.

    ## Why it hurts
    A `GradScaler` multiplies the loss, and so every gradient, by up to 65536. A norm of 1 then
    cuts nearly every step down to 1/65536 of what was meant: the model hardly moves, and moves
    differently each time the scale changes.

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
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                scaler.step(optimizer)
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
                scaler.unscale_(optimizer)
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                scaler.step(optimizer)
                scaler.update()

    ## When it is fine
    A scaler that is switched off (`enabled=False`), bfloat16, scalers that unscale by themselves,
    a branch without a scaler that clips on its own: none is reported.

    ## Measured
    `convlint probe` records the order of events per optimizer when a scaler is at work. On a
    machine where the scaler is switched off it stays unmeasured.

    ## References
    - PyTorch notes, "Automatic Mixed Precision examples", section on gradient clipping
    - Micikevicius et al., "Mixed Precision Training", 2018
    """

    code = "AMP001"
    slug = "clip-without-unscale"
    prediction = Prediction("order of events", "is not", "unscale between backward and clip")
    severity = Severity.ERROR
    fix = Applicability.UNSAFE
    measurements = ("optimizers",)
    unmeasured_because = "no enabled gradient scaler was at work during the probe"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report clips between a scaled backward and the scaler's step with no unscale."""
        if computes_in_bfloat16(program):
            return
        places: set[Location] = set()
        for order in gradient_orders(program):
            for index, step in enumerate(order.events):
                if step.kind is not EventKind.SCALER_STEP or not order.is_step(step):
                    continue
                if not is_torch_scaler(program, step.event.target):
                    continue
                clip = _scaled_clip(program, order, index)
                if clip is None or not one_per_place(places, clip.event.location):
                    continue
                scaler = name_of(object_of(program, step.event.target), "scaler")
                name = name_of(object_of(program, order.optimizer), "optimizer")
                yield self.finding(
                    clip.event.location,
                    f"the gradients still carry the scale of `{scaler}` when they are clipped, so "
                    "the threshold cuts them down to almost nothing",
                    help=f"call `{scaler}.unscale_({name})` before clipping",
                    related=(Related(step.event.location, "unscaled only here"),),
                    fix=self.repair(
                        "unscale the gradients before clipping",
                        _unscaled(program, step.event, clip.event.location),
                    ),
                )

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """Report optimizers clipped before every recorded step with no unscale in between."""
        if SCALER_SEEN not in seen.recognised:
            return
        for use in judged_orders(seen):
            segments = before_each_step(use)
            if segments and all(map(_clips_scaled_gradients, segments)):
                yield self.finding(
                    place_to_location(use.place, seen),
                    f"every recorded clipping of {use.cls}'s gradients happened on scaled "
                    "gradients",
                    help="call `scaler.unscale_(optimizer)` before clipping",
                    evidence=order_evidence(use, "unscale between backward and clip"),
                )

    def reading(self, seen: Observations) -> str | None:
        """The recorded order of events, when a scaler was at work."""
        return order_reading(seen) if SCALER_SEEN in seen.recognised else None


def _clips_scaled_gradients(segment: tuple[str, ...]) -> bool:
    """Whether the clip comes before the unscale (which ``scaler.step`` does if nobody else did)."""
    clip = segment.index("clip") if "clip" in segment else len(segment)
    return clip < len(segment) and "unscale" not in segment[:clip]


def _scaled_clip(program: TrainingProgram, order: Order, index: int) -> Occurrence | None:
    """The clip of scaled gradients that feeds the scaler step at ``index``, or None."""
    start = scaled_backward_before(order.events, index)
    if start is None:
        return None
    between = order.events[start + 1 : index]
    if any(
        o.kind is EventKind.UNKNOWN_CALL
        or (
            o.kind is EventKind.UNSCALE
            and acts_on(program, o.event, order.optimizer) is not Match.NO
        )
        for o in between
    ):
        return None
    return next(
        (
            o
            for o in between
            if o.kind is EventKind.CLIP and concerns(program, order.loop, o.event, order.optimizer)
        ),
        None,
    )


def _unscaled(program: TrainingProgram, step: Event, clip: Location) -> Changes:
    scaler = edits.receiver_of(program, step.location)
    optimizer = loop_edits.optimizer_name(program, step)
    if scaler is None or optimizer is None:
        return None
    if not statement_edits.same_function(program, step.location, clip):
        return None
    statement = statement_edits.own_statement(program, clip)
    return statement_edits.insert_before(statement, f"{scaler}.unscale_({optimizer})")
