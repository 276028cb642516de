"""OPT014: the optimizer is built anew in every training step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Evidence, Finding, Related, Severity
from convlint.predictions import Prediction
from convlint.program.facts import ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns import statement_edits
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.loops import steps_of
from convlint.rules.patterns.ownership import is_managed, name_of, object_of
from convlint.rules.patterns.places import place_to_location
from convlint.rules.patterns.training_loops import training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.gpu_probes.observations import Observations
    from convlint.program.facts import Object, TrainingProgram

MANY_OBJECTS = 3
"""Optimizer objects made on one line within the observed steps: two may be two networks."""


class OptimizerRecreated(Rule):
    """The optimizer is built anew in every training step.

    ## What it does
    Reports an optimizer constructed inside the very loop that steps it.

    ## Why it hurts
    Momentum and the running moments of Adam start from zero in each step, and so does bias
    correction: Adam degenerates to the sign of the gradient, momentum to none, and a scheduler
    bound to an earlier object changes nothing.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        for epoch in range(10):
            for x, y in loader:
                optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
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
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()

    ## When it is fine
    A new optimizer per fold, per task, per image optimised or at one chosen step, and plain SGD
    without momentum, which keeps nothing between steps: none is reported.

    ## Measured
    `convlint probe` confirms it when one line makes a new optimizer every step or two.

    ## References
    - Kingma and Ba, "Adam: a method for stochastic optimization", 2015
    """

    code = "OPT014"
    slug = "optimizer-recreated"
    prediction = Prediction("optimizer objects", "at least", MANY_OBJECTS)
    severity = Severity.ERROR
    fix = Applicability.UNSAFE
    measurements = ("optimizers",)

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report optimizers constructed as deep in loops as they are stepped."""
        places: set[Location] = set()
        for loop in training_loops(program):
            if is_managed(program, loop):
                continue
            for number in loop.optimizers:
                optimizer = object_of(program, number)
                if optimizer is None or optimizer.kind is not ObjectKind.OPTIMIZER:
                    continue
                if any(entry != "loop" for entry in optimizer.context):
                    continue
                if _keeps_nothing(optimizer):
                    continue
                if len(optimizer.context) < len(loop.nest):
                    continue
                steps = steps_of(loop, number)
                if any(step.loops for step in steps):
                    # stepped in a loop of its own inside: a task or an image per object
                    continue
                if not one_per_place(places, optimizer.location):
                    continue
                name = name_of(optimizer, "the optimizer")
                yield self.finding(
                    optimizer.location,
                    f"`{name}` is built anew in every step, so momentum and running averages "
                    "never build up",
                    help="build it once, before the loops",
                    related=(Related(steps[0].event.location, "stepped once per object"),),
                    fix=self.repair(
                        "build it before the loops",
                        statement_edits.hoist(program, optimizer.location, outermost=True),
                    ),
                )

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """Report lines that make a new optimizer every few steps."""
        for (path, line), (objects, steps) in _made_at(seen).items():
            if objects < MANY_OBJECTS or steps >= 2 * objects:
                continue
            place = next(
                use.place
                for use in seen.optimizers
                if use.place is not None and (use.place.path, use.place.line) == (path, line)
            )
            yield self.finding(
                place_to_location(place, seen),
                f"{objects} optimizers were made on this line within {steps} steps",
                help="build the optimizer once, before the loops",
                evidence=(
                    Evidence(
                        source="measured",
                        statement=f"optimizer objects that stepped, for {steps} steps",
                        quantity="optimizer objects",
                        value=float(objects),
                        expected="one",
                    ),
                ),
            )

    def reading(self, seen: Observations) -> str | None:
        """How many steps each optimizer object took."""
        uses = [use for use in seen.optimizers if use.steps > 1]
        if not uses:
            return None
        return "; ".join(f"one {use.cls} object took {use.steps} steps" for use in uses)


def _keeps_nothing(optimizer: Object) -> bool:
    """Whether a new object steps just like the old one would have."""
    momentum = optimizer.args.get("momentum")
    return optimizer.cls == "torch.optim.SGD" and momentum is not None and momentum.number == 0


def _made_at(seen: Observations) -> dict[tuple[str, int], tuple[int, int]]:
    """For each line that made optimizers: how many stepped, and how often in all."""
    found: dict[tuple[str, int], tuple[int, int]] = {}
    for use in seen.optimizers:
        if use.place is not None and use.steps:
            key = (use.place.path, use.place.line)
            objects, steps = found.get(key, (0, 0))
            found[key] = (objects + 1, steps + use.steps)
    return found
