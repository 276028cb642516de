"""LOP005: the optimizer steps, but nothing computes gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Evidence, Finding, Severity
from convlint.predictions import Prediction
from convlint.program.facts import EventKind, ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.ownership import name_of, object_of
from convlint.rules.patterns.paths import occurrences
from convlint.rules.patterns.places import place_to_location
from convlint.rules.patterns.training_loops import STEPS, all_loops, stepped_optimizer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.gpu_probes.observations import Observations
    from convlint.program.facts import Entry, TrainingProgram
    from convlint.rules.patterns.paths import Occurrence

_GRADIENT_CALLS = ("torch.autograd.", "torch.func.", "functorch.")
_GRADIENT_SOURCES = frozenset(
    {
        EventKind.BACKWARD,
        EventKind.GRAD_WRITE,
        EventKind.PARAMETER_WRITE,
        EventKind.UNKNOWN_CALL,
    }
)
"""Events that give a step something to apply, or may."""


class BackwardMissing(Rule):
    """The optimizer steps, but `backward()` is never called.

    ## What it does
    Reports a loop that computes a model's output or a loss and steps an optimizer although nothing
    in the program back-propagates, writes gradients or calls `torch.autograd`.

    ## Why it hurts
    Without gradients a step does nothing: the loss stays where it was for the whole run, and no
    error is raised.

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
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()

    ## When it is fine
    Closures (LBFGS), gradients written by hand (evolution strategies, projected gradients),
    `torch.autograd.grad`, helpers that back-propagate: none of these is reported.

    ## Measured
    `convlint probe` refutes it when a backward happened; a script that ends without a single one,
    and without a gradient at any step, confirms it.

    ## References
    - PyTorch tutorial, "Optimizing Model Parameters"
    """

    code = "LOP005"
    slug = "backward-missing"
    prediction = Prediction("backward passes", "equals", 0.0)
    severity = Severity.ERROR
    unmeasured_because = "the probe stopped before the loop was reached"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report the steps of loops in an entry that has no source of gradients at all."""
        if program.managed or any(c.name.startswith(_GRADIENT_CALLS) for c in program.calls):
            return
        places: set[Location] = set()
        silent = {e.name for e in program.entries if _may_have_gradients(e)}
        for entry, nest in all_loops(program):
            if entry.name in silent or nest[-1].incomplete:
                continue
            inside = list(occurrences(nest[-1].body))
            computes = any(
                o.kind in (EventKind.FORWARD, EventKind.LOSS) and "no_grad" not in o.event.context
                for o in inside
            )
            if not computes:
                continue
            for step in inside:
                if self._applies_nothing(program, step) and one_per_place(
                    places, step.event.location
                ):
                    optimizer = object_of(program, stepped_optimizer(step.event))
                    name = name_of(optimizer, "the optimizer")
                    yield self.finding(
                        step.event.location,
                        f"`{name}` steps in this loop, but nothing back-propagates: there are no "
                        "gradients to apply",
                        help="call `loss.backward()` before the step",
                    )

    @staticmethod
    def _applies_nothing(program: TrainingProgram, step: Occurrence) -> bool:
        if step.kind not in STEPS or {"closure", "managed"} & set(step.event.flags):
            return False
        optimizer = object_of(program, stepped_optimizer(step.event))
        return (
            optimizer is not None
            and optimizer.kind is ObjectKind.OPTIMIZER
            and optimizer.cls.startswith("torch.optim.")
            and not optimizer.escaped
        )

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """Report a run whose optimizer steps were never preceded by a backward."""
        if seen.backwards or seen.stopped in ("crashed", "exited"):
            return
        for use in seen.optimizers:
            if use.found_gradients is False and not use.uses_closure:
                yield self.finding(
                    place_to_location(use.place, seen),
                    f"{use.cls} stepped, but no backward happened in the whole run, and no step found "
                    "a gradient",
                    help="call `loss.backward()` before the step",
                    evidence=(
                        Evidence(
                            source="measured",
                            statement="backward passes seen during the run",
                            quantity="backward passes",
                            value=0.0,
                            unit="backward passes",
                            expected="at least one per step",
                        ),
                    ),
                )

    def reading(self, seen: Observations) -> str | None:
        """How many backward passes happened."""
        if not seen.backwards:
            return None
        return f"{seen.backwards} backward passes happened"


def _may_have_gradients(entry: Entry) -> bool:
    return any(o.kind in _GRADIENT_SOURCES for o in occurrences(entry.body))
