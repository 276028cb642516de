"""SCH009: milestones the run never comes to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Evidence, Finding, Severity
from convlint.program.facts import ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns.courses import scheduler_class
from convlint.rules.patterns.schedules import plan_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import Object, TrainingProgram


class MilestonesUnreachable(Rule):
    """All milestones of a schedule lie beyond the end of the run.

    ## What it does
    Reports `MultiStepLR` whose milestones all lie at or after the last epoch, or are not in
    increasing order.

    ## Why it hurts
    The learning rate never decays: the run ends at its initial rate, in the noise around the
    minimum instead of in it.

    ## Example
        import torch
        from torch import nn

        model = nn.Linear(10, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[60, 90])
        x, y = torch.randn(64, 10), torch.randn(64, 1)
        for epoch in range(50):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            scheduler.step()

    ## Use instead
        import torch
        from torch import nn

        model = nn.Linear(10, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[25, 40])
        x, y = torch.randn(64, 10), torch.randn(64, 1)
        for epoch in range(50):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            scheduler.step()

    ## When it is fine
    A resumed run, where the scheduler starts from `last_epoch`; a scheduler stepped per batch.

    ## Measured
    The probe steps the scheduler ahead; that no decay was meant it cannot rule out.

    ## References
    - PyTorch, `torch.optim.lr_scheduler.MultiStepLR`: milestones must be increasing
    """

    code, slug, severity = "SCH009", "milestones-unreachable", Severity.WARNING
    unmeasured_because = "the probe cannot know whether a decay was meant to happen"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per MultiStepLR with milestones that are out of reach or out of order."""
        reported: set[Location] = set()
        for scheduler in program.objects:
            if scheduler.kind is not ObjectKind.SCHEDULER or scheduler.location in reported:
                continue
            if scheduler_class(scheduler) != "MultiStepLR" or _is_resumed(scheduler):
                continue
            value = scheduler.args.get("milestones")
            milestones = value.numbers if value is not None else None
            if not milestones:
                continue
            plan = plan_of(program, scheduler)
            unsorted = list(milestones) != sorted(milestones)
            if not unsorted and (plan is None or min(milestones) < plan.steps):
                continue
            reported.add(scheduler.location)
            listed = ", ".join(f"{milestone:g}" for milestone in milestones)
            if unsorted or plan is None:
                message = f"the milestones [{listed}] are not in increasing order"
                advice = "list the milestones in increasing order"
            else:
                message = (
                    f"the milestones [{listed}] are never reached: the run has {plan.steps} "
                    f"{plan.unit}s, so the learning rate never decays"
                )
                advice = f"put the milestones inside the {plan.steps} {plan.unit}s of the run"
            yield self.finding(
                scheduler.location,
                message,
                help=advice,
                evidence=(Evidence("static", f"milestones [{listed}]"),),
            )


def _is_resumed(scheduler: Object) -> bool:
    last = scheduler.args.get("last_epoch")
    return last is not None and last.number != -1
