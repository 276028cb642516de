"""SCH001: the scheduler steps before the optimizer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Finding, Related, Severity
from convlint.predictions import Prediction
from convlint.program.facts import EventKind
from convlint.rules import Rule
from convlint.rules.patterns import loop_edits
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.happened import STEP_EVENTS, order_evidence
from convlint.rules.patterns.ownership import (
    is_managed,
    name_of,
    object_of,
    scheduled_optimizer,
)
from convlint.rules.patterns.paths import paths
from convlint.rules.patterns.places import place_to_location
from convlint.rules.patterns.training_loops import STEPS, stepped_optimizer, training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.gpu_probes.observations import Observations, OptimizerUse
    from convlint.program.facts import Loop, TrainingProgram
    from convlint.rules.patterns.paths import Occurrence, Path

_KINDS = frozenset({EventKind.SCHEDULER_STEP, *STEPS})


class SchedulerBeforeOptimizer(Rule):
    """The learning-rate scheduler steps before the optimizer.

    ## What it does
    Reports `scheduler.step()` that comes before `optimizer.step()` in the same iteration, or at
    the top of the epoch loop before the batches.

    ## Why it hurts
    Since PyTorch 1.1 the scheduler is to follow the optimizer. In the other order the first value
    of the schedule is never used: warm-up starts one notch late, every milestone comes one epoch
    early, and a resumed run is off by one.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=10, gamma=0.5)
        for epoch in range(30):
            scheduler.step()
            for x, y in loader:
                optimizer.zero_grad()
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
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=10, gamma=0.5)
        for epoch in range(30):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
            scheduler.step()

    ## When it is fine
    A scheduler of another optimizer, schedulers driven by an absolute position (`step(epoch)`),
    `scaler.step` before the scheduler and `scaler.update` after it: none is reported.

    ## Measured
    `convlint probe` records the order of the first events per optimizer.

    ## References
    - PyTorch documentation, `torch.optim`, "How to adjust learning rate"
    """

    code = "SCH001"
    slug = "scheduler-before-optimizer"
    prediction = Prediction("order of events", "is not", "step before scheduler_step")
    severity = Severity.WARNING
    fix = Applicability.UNSAFE
    measurements = ("optimizers",)

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report unconditional scheduler steps ahead of the step of their optimizer."""
        places: set[Location] = set()
        for training in training_loops(program):
            if is_managed(program, training):
                continue
            for loop in training.nest:
                for early, step in _early_steps(program, loop):
                    if not one_per_place(places, early.event.location):
                        continue
                    scheduler = name_of(object_of(program, early.event.target), "scheduler")
                    optimizer = stepped_optimizer(step.event)
                    name = name_of(object_of(program, optimizer), "optimizer")
                    yield self.finding(
                        early.event.location,
                        f"`{scheduler}.step()` comes before `{name}.step()`: the first learning "
                        "rate of the schedule is never used and every later one comes one step "
                        "early",
                        help=f"move `{scheduler}.step()` after `{name}.step()`",
                        related=(Related(step.event.location, "the optimizer steps only here"),),
                        fix=self.repair(
                            "step the scheduler after the optimizer",
                            loop_edits.move_past(
                                program, early.event.location, step.event.location
                            ),
                        ),
                    )

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """Report optimizers whose first recorded scheduler step came before their first step."""
        for use in seen.optimizers:
            if _scheduler_first(use) is True:
                yield self.finding(
                    place_to_location(use.place, seen),
                    f"the scheduler of {use.cls} stepped before its first step",
                    help="call `scheduler.step()` after `optimizer.step()`",
                    evidence=order_evidence(use, "step before scheduler_step"),
                )

    def reading(self, seen: Observations) -> str | None:
        """Which came first, when both a scheduler step and a step were recorded."""
        healthy = [use for use in seen.optimizers if _scheduler_first(use) is False]
        if not healthy:
            return None
        return "; ".join(f"{use.cls} stepped before its scheduler did" for use in healthy)


def _scheduler_first(use: OptimizerUse) -> bool | None:
    """Whether the scheduler stepped first; None unless both were recorded."""
    steps = [i for i, event in enumerate(use.events) if event in STEP_EVENTS]
    if not steps or "scheduler_step" not in use.events:
        return None
    return use.events.index("scheduler_step") < steps[0]


def _early_steps(program: TrainingProgram, loop: Loop) -> Iterator[tuple[Occurrence, Occurrence]]:
    for path in paths(loop.body, _KINDS) or ():
        for index, occurrence in enumerate(path.occurrences):
            if occurrence.kind is not EventKind.SCHEDULER_STEP or occurrence.conditional:
                continue
            if occurrence.loops or occurrence.event.args or not _is_torch(program, occurrence):
                continue
            step = _first_step_after(program, path, index)
            if step is not None:
                yield occurrence, step


def _is_torch(program: TrainingProgram, occurrence: Occurrence) -> bool:
    scheduler = object_of(program, occurrence.event.target)
    return scheduler is not None and scheduler.cls.startswith("torch.optim.")


def _first_step_after(program: TrainingProgram, path: Path, index: int) -> Occurrence | None:
    """The optimizer's first step of the iteration when it comes after ``index``, else None."""
    optimizer = scheduled_optimizer(program, path.occurrences[index].event.target)
    if optimizer is None:
        return None
    for position, occurrence in enumerate(path.occurrences):
        if occurrence.kind not in STEPS:
            continue
        stepped = stepped_optimizer(occurrence.event)
        if stepped is None:
            return None
        if stepped == optimizer:
            return occurrence if position > index and not occurrence.conditional else None
    return None
