"""SCH018: a warm-up that takes the run, or half of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.program.facts import ObjectKind
from convlint.rule_options import Option
from convlint.rules import Rule
from convlint.rules.patterns.courses import short_name
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.schedules import plan_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import Object, TrainingProgram

LARGEST_RATIO = 0.5
"""Recipes use 0.03 to 0.1."""
_PAIRS = (("num_warmup_steps", "num_training_steps"), ("warmup_t", "t_initial"))


class WarmupLongerThanRun(Rule):
    """The warm-up takes as long as the whole run.

    ## What it does
    Reports warm-up schedules of transformers and timm whose warm-up is at least as long as the
    schedule, SequentialLR whose first milestone lies at or beyond the end of the run, and a
    `warmup_ratio` of at least a half.

    ## Why it hurts
    The learning rate is still rising when training ends (or falls only in the last moments): the
    whole run is spent below the rate that was chosen.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset
        from transformers import get_linear_schedule_with_warmup

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        scheduler = get_linear_schedule_with_warmup(
            optimizer, num_warmup_steps=500, num_training_steps=160
        )
        for epoch in range(20):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
                scheduler.step()

    ## Use instead
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset
        from transformers import get_linear_schedule_with_warmup

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        scheduler = get_linear_schedule_with_warmup(
            optimizer, num_warmup_steps=16, num_training_steps=160
        )
        for epoch in range(20):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
                scheduler.step()

    ## When it is fine
    A warm-up of a tenth or a fifth of the run.

    ## Measured
    `convlint probe` steps the real scheduler ahead on a copy (see `lr-schedule-collapses`).

    ## References
    - Goyal et al., Accurate, large minibatch SGD, 2017
    """

    code, slug, severity = "SCH018", "warmup-longer-than-run", Severity.WARNING
    unmeasured_because = "whether the rise is the whole plan the probe cannot know"

    share = Option(
        LARGEST_RATIO, "The share of the run from which on a warm-up is reported.", least=0, most=1
    )

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report warm-ups without a run behind them."""
        places: set[Location] = set()
        for item in program.objects:
            if item.kind is ObjectKind.SCHEDULER:
                warmup, total = _lengths(program, item)
                if warmup is None or total is None or warmup < total or warmup <= 1:
                    continue
                if one_per_place(places, item.location):
                    yield self.finding(
                        item.location,
                        f"the warm-up of {short_name(item)} takes {warmup:g} steps of {total:g}",
                        help="warm up over a tenth of the run",
                    )
        for call in program.calls:
            ratio = call.args.get("warmup_ratio")
            if not call.name.endswith("TrainingArguments") or ratio is None or ratio.number is None:
                continue
            if ratio.number >= self.share and one_per_place(places, call.location):
                yield self.finding(
                    ratio.location or call.location,
                    f"warmup_ratio={ratio.number:g}: the rate rises for most of the run",
                    help="warm up over a tenth of the run",
                )


def _lengths(program: TrainingProgram, scheduler: Object) -> tuple[float | None, float | None]:
    """Steps of the warm-up and of the whole schedule."""
    for first, whole in _PAIRS:
        if first in scheduler.args and whole in scheduler.args:
            return scheduler.args[first].number, scheduler.args[whole].number
    milestones = scheduler.args.get("milestones")
    if short_name(scheduler) == "SequentialLR" and milestones is not None:
        plan, numbers = plan_of(program, scheduler), milestones.numbers
        if plan is not None and numbers:
            return min(numbers), float(plan.steps)
    return None, None
