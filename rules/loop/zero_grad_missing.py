"""LOP001: gradients are never cleared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Evidence, Finding, Severity
from convlint.predictions import Prediction
from convlint.rules import Rule
from convlint.rules.patterns import loop_edits
from convlint.rules.patterns.loops import (
    backward_before_step,
    clearings,
    clearings_around,
    demands_clearing,
    runs_once,
)
from convlint.rules.patterns.ownership import absence_confidence, name_of, object_of
from convlint.rules.patterns.places import place_to_location
from convlint.rules.patterns.training_loops import training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.gpu_probes.observations import Observations, OptimizerUse
    from convlint.program.facts import TrainingProgram

CARRIED_SHARE = 0.5
"""Share of the compared backward passes that found an old gradient: a script that clears finds
none, one that never clears finds it every time; half leaves room for a conditional clear."""
MIN_COMPARED = 2
"""One carried gradient can be a deliberate warm start; two in a row are a pattern."""


class ZeroGradMissing(Rule):
    """Gradients are never cleared between optimizer steps.

    ## What it does
    Reports a training loop that back-propagates and steps an optimizer whose gradients nothing in
    the loop clears: no `zero_grad` of the optimizer or of its model, no `p.grad = None`.

    ## Why it hurts
    PyTorch *adds* to `.grad`. Without clearing, every step follows the sum of all gradients since
    the start: the effective step grows with time, points to where the loss used to fall, and the
    run oscillates or diverges although the first steps look fine.

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
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()

    ## When it is fine
    Deliberate accumulation (clearing under `if i % k == 0`), closures (LBFGS), helpers that clear,
    frameworks that own the loop, `torch.distributed.autograd` contexts, a loop that runs once:
    none of these is reported.

    ## Measured
    `convlint probe` confirms it when backward passes find non-zero gradients left from before the
    previous step, and refutes it when they find none.

    ## References
    - PyTorch documentation, `torch.optim.Optimizer.zero_grad`
    - PyTorch tutorial, "Zeroing out gradients in PyTorch"
    """

    code = "LOP001"
    slug = "zero-grad-missing"
    prediction = Prediction(
        "backward passes with a carried gradient", "at least", "half of those compared"
    )
    severity = Severity.ERROR
    fix = Applicability.UNSAFE
    measurements = ("optimizers",)

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report every optimizer that steps in a loop where nothing can clear its gradients."""
        for loop in training_loops(program):
            for optimizer in loop.optimizers:
                if not demands_clearing(program, loop, optimizer):
                    continue
                if clearings(program, loop, optimizer) or clearings_around(
                    program, loop, optimizer
                ):
                    continue
                if runs_once(loop, optimizer):
                    continue
                backward = backward_before_step(loop, optimizer)
                name = name_of(object_of(program, optimizer), "the optimizer")
                yield self.finding(
                    backward.location,
                    f"the gradients of `{name}` are never cleared in this loop, so every step "
                    "follows the sum of all gradients since the start",
                    help=f"call `{name}.zero_grad()` once per step, before this backward",
                    confidence=absence_confidence(program, loop, optimizer),
                    fix=self.repair(
                        "clear the gradients at the start of each iteration",
                        loop_edits.clear_first(program, loop, optimizer, backward),
                    ),
                )

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """Report optimizers whose backward passes keep finding gradients already applied."""
        for use in self._judged(seen):
            if use.carried_gradient_steps < CARRIED_SHARE * use.compared_steps:
                continue
            yield self.finding(
                place_to_location(use.place, seen),
                f"{_share(use)} found gradients that a previous {use.cls} step had already "
                "used: nothing clears them",
                help="call `zero_grad()` once per step",
                evidence=(
                    Evidence(
                        source="measured",
                        statement=_share(use) + " found a gradient left from before the last step",
                        quantity="backward passes with a carried gradient",
                        value=float(use.carried_gradient_steps),
                        unit="backward passes",
                        expected="none",
                    ),
                ),
            )

    def reading(self, seen: Observations) -> str | None:
        """How often a gradient was carried over a step."""
        uses = self._judged(seen)
        if not uses:
            return None
        return "; ".join(
            f"{_share(use)} found a gradient left from before the last {use.cls} step"
            for use in uses
        )

    def _judged(self, seen: Observations) -> list[OptimizerUse]:
        return [
            use
            for use in seen.optimizers
            if use.compared_steps >= MIN_COMPARED and not use.uses_closure
        ]


def _share(use: OptimizerUse) -> str:
    return f"{use.carried_gradient_steps} of {use.compared_steps} backward passes"
