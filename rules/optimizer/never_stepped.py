"""OPT017: an optimizer is built, gradients are computed, and nothing steps it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Evidence, Finding, Severity
from convlint.predictions import Prediction
from convlint.program.facts import EventKind, ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.handed import is_handed_on
from convlint.rules.patterns.happened import STEP_EVENTS
from convlint.rules.patterns.imported import uses_library
from convlint.rules.patterns.loss_series import loss_place
from convlint.rules.patterns.ownership import is_unidentified, name_of, object_of
from convlint.rules.patterns.paths import occurrences
from convlint.rules.patterns.places import place_to_location
from convlint.rules.patterns.training_loops import STEPS, stepped_optimizer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.gpu_probes.observations import Observations
    from convlint.program.facts import Object, TrainingProgram
    from convlint.rules.patterns.paths import Occurrence

MANY_BACKWARDS = 8
"""Backward passes without a step that are too many to be one accumulation still under way in a
script that ended."""
_MODULE = "<module>"
"""The entry that runs a file from top to bottom."""


class NeverStepped(Rule):
    """An optimizer is built, gradients are computed, and nothing ever steps it.

    ## What it does
    Reports an optimizer without a single `step()` in a program that back-propagates in a loop.

    ## Why it hurts
    The parameters never change: the loss is that of the untrained model for the whole run.

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
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()

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
    An optimizer that is returned, stored in something unknown or handed to a framework, and
    updates written by hand: none is reported.

    ## Measured
    `convlint probe` confirms it when a script ends after many backward passes and no step, and
    refutes it when steps happened.

    ## References
    - PyTorch tutorial, "Optimizing Model Parameters"
    """

    code = "OPT017"
    slug = "never-stepped"
    prediction = Prediction("optimizer steps", "equals", 0.0)
    severity = Severity.ERROR
    measurements = ("optimizers",)
    unmeasured_because = "the probe stopped before the end of the script"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report optimizers that nothing steps, where a loop back-propagates."""
        if program.managed or uses_library(program, "torch.distributed.rpc"):
            return
        if program.role == "test":
            # a test builds an optimizer to save, register or inspect it
            return
        everything = [o for entry in program.entries for o in occurrences(entry.body)]
        training = [
            entry.name
            for entry in program.entries
            if any(o.kind is EventKind.BACKWARD and o.loops for o in occurrences(entry.body))
        ]
        if not training:
            return
        if any(_may_step_any(o) for o in everything):
            return
        stepped = {stepped_optimizer(o.event) for o in everything if o.kind in STEPS}
        if any(is_unidentified(object_of(program, number)) for number in stepped):
            return
        stepped_places = {
            found.location for n in stepped if (found := object_of(program, n)) is not None
        }
        places: set[Location] = set()
        for optimizer in program.objects:
            if optimizer.kind is not ObjectKind.OPTIMIZER or optimizer.id in stepped:
                continue
            if optimizer.same_as is not None:
                # a branch chose between this one and another; its events name the other
                continue
            if optimizer.location in stepped_places:
                continue  # the same line of a class, seen once more on its own
            if not optimizer.cls.startswith("torch.optim.") or is_handed_on(program, optimizer):
                continue
            if not _made_for(optimizer, training):
                continue
            if not one_per_place(places, optimizer.location):
                continue
            name = name_of(optimizer, "the optimizer")
            yield self.finding(
                optimizer.location,
                f"`{name}` is never stepped although a loop back-propagates: its parameters never "
                "change",
                help=f"call `{name}.step()` after the backward",
            )

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """Report a script that ended after many backward passes and not one step."""
        # an optimizer is listed when the script asked it to step, withheld or not
        if seen.stopped != "finished" or seen.backwards < MANY_BACKWARDS or seen.optimizers:
            return
        if seen.steps:
            # the script updates its parameters by hand
            return
        yield self.finding(
            # No optimizer is known that never stepped; its gradients come from here.
            place_to_location(loss_place(seen), seen),
            f"the script ended after {seen.backwards} backward passes and no optimizer step",
            help="call `optimizer.step()` after the backward",
            evidence=(
                Evidence(
                    source="measured",
                    statement=f"optimizer steps for {seen.backwards} backward passes",
                    quantity="optimizer steps",
                    value=0.0,
                    unit="steps",
                    expected="one per backward, or per few",
                ),
            ),
        )

    def reading(self, seen: Observations) -> str | None:
        """Which optimizers stepped."""
        if not seen.optimizers:
            return None
        return "; ".join(
            f"{use.cls} stepped {sum(e in STEP_EVENTS for e in use.events) or use.steps} times "
            "in the first steps"
            for use in seen.optimizers
        )


def _made_for(optimizer: Object, training: list[str]) -> bool:
    """Whether it was made by code that leads to a loop that back-propagates.

    A function nobody here calls, such as a factory, returns its optimizer to code elsewhere.
    """
    if not optimizer.within or _MODULE in training:
        return True
    function = optimizer.within[0]
    owner = function.rpartition(".")[0]
    return any(name == function or (owner and name.startswith(f"{owner}.")) for name in training)


def _may_step_any(occurrence: Occurrence) -> bool:
    """Whether this may step an optimizer we cannot name, or replaces the step."""
    if occurrence.kind in STEPS:
        return stepped_optimizer(occurrence.event) is None
    return occurrence.kind is EventKind.PARAMETER_WRITE or "managed" in occurrence.event.flags
