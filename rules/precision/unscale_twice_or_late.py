"""AMP009: gradients are unscaled twice, or after they were clipped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Finding, Related, Severity
from convlint.program.facts import EventKind
from convlint.rules import Rule
from convlint.rules.patterns import loop_edits, statement_edits
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.orders import gradient_orders
from convlint.rules.patterns.ownership import Match, acts_on, concerns
from convlint.rules.patterns.scaling import is_torch_scaler

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram
    from convlint.rules.patterns.paths import Occurrence


class UnscaleTwiceOrLate(Rule):
    """Gradients are unscaled twice in one step, or only after they were clipped.

    ## What it does
    Reports a second `scaler.unscale_(optimizer)` before the step of that optimizer, and an
    `unscale_` that follows the clipping it was meant for.

    ## Why it hurts
    The second call raises an error. A late one is worse: the threshold was compared with
    gradients scaled by up to 65536, and nothing tells.

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
                scaler.unscale_(optimizer)
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
    One call per optimizer, calls on different paths, and clipping once before and once after
    are not reported.

    ## Measured
    Not measured: a machine without the device does not run in half precision.

    ## References
    - PyTorch documentation, `torch.amp.GradScaler.unscale_`
    """

    code = "AMP009"
    slug = "unscale-twice-or-late"
    severity = Severity.ERROR
    fix = Applicability.UNSAFE
    unmeasured_because = "a machine without the device does not run in half precision"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report the misplaced unscale on any path."""
        places: set[Location] = set()
        for order in gradient_orders(program):
            clip: Occurrence | None = None
            unscaled: Occurrence | None = None
            for occurrence in order.events:
                event = occurrence.event
                if order.is_step(occurrence) or occurrence.kind is EventKind.BACKWARD:
                    clip = None
                    unscaled = unscaled if not order.is_step(occurrence) else None
                elif occurrence.kind is EventKind.CLIP:
                    scaled = concerns(program, order.loop, event, order.optimizer)
                    clip = occurrence if scaled and unscaled is None else clip
                elif (
                    occurrence.kind is EventKind.UNSCALE
                    and acts_on(program, event, order.optimizer) is Match.YES
                    and is_torch_scaler(program, event.target)
                ):
                    first, unscaled = unscaled, occurrence
                    if first is not None and one_per_place(places, event.location):
                        yield self.finding(
                            event.location,
                            "these gradients are unscaled a second time before the step, which raises",
                            help="unscale once per step, before clipping",
                            related=(Related(first.event.location, "unscaled here before"),),
                            fix=self.repair(
                                "unscale once",
                                statement_edits.remove_statement(
                                    program, statement_edits.lone_call(program, event.location)
                                ),
                            ),
                        )
                    elif clip is not None and one_per_place(places, event.location):
                        yield self.finding(
                            event.location,
                            "the gradients were clipped before they are unscaled here",
                            help="unscale before clipping",
                            related=(Related(clip.event.location, "clipped while still scaled"),),
                            fix=self.repair(
                                "unscale before clipping",
                                loop_edits.move_before(
                                    program, event.location, clip.event.location
                                ),
                            ),
                        )
