"""NUM014: a loss computed in float16."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Confidence, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.flows import FlowGraph, one_per_place
from convlint.rules.patterns.half_precision import HalfPrecision
from convlint.rules.patterns.losses import trained_losses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Finding, Location
    from convlint.program.facts import TrainingProgram
    from convlint.rules import Changes

ELEMENTWISE = frozenset(
    {"mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy_with_logits"}
)


class LossInHalfPrecision(Rule):
    """The loss is computed in float16.

    ## What it does
    Reports an element-wise loss whose input is a float16 tensor (cast by hand, or the output of a model
    converted with `half()`), outside autocast.

    ## Why it hurts
    A squared difference above 256 overflows float16 and one below 2.4e-4 vanishes; sums over the batch
    lose their digits.

    ## Example
        import torch
        import torch.nn.functional as F
        from torch import nn

        model = nn.Linear(20, 10)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(64, 20)
        y = torch.randn(64, 10)
        for epoch in range(10):
            optimizer.zero_grad()
            loss = F.mse_loss(model(x).half(), y.half())
            loss.backward()
            optimizer.step()

    ## Use instead
        import torch
        import torch.nn.functional as F
        from torch import nn

        model = nn.Linear(20, 10)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(64, 20)
        y = torch.randn(64, 10)
        for epoch in range(10):
            optimizer.zero_grad()
            loss = F.mse_loss(model(x).half().float(), y)
            loss.backward()
            optimizer.step()

    ## When it is fine
    bfloat16, autocast (which computes losses in float32), a cast to float32 before the loss.

    ## Measured
    `convlint probe` looks for NaN and infinities; they come late, so silence refutes nothing.

    ## References
    - PyTorch, automatic mixed precision: operations that autocast to float32
    """

    code, slug, severity = "NUM014", "loss-in-half-precision", Severity.WARNING
    fix = Applicability.UNSAFE
    confidence = Confidence.MEDIUM
    confirmed_by = ("non-finite",)
    silence_refutes = False

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per loss of a float16 tensor."""
        graph = FlowGraph(program)
        half = HalfPrecision(program, graph)
        places: set[Location] = set()
        for loss in trained_losses(program, ELEMENTWISE):
            if "autocast" in loss.context or not half.is_half(loss.input):
                continue
            if one_per_place(places, loss.location):
                yield self.finding(
                    loss.location,
                    f"{loss.name} is computed in float16, where squares overflow above 65504 and vanish "
                    "below 6e-8",
                    help="cast the prediction and the target to float32 first",
                    fix=self.repair(
                        "cast both to float32",
                        *(
                            _cast(program, loss.location, name, position)
                            for position, name in enumerate(("input", "target"))
                        ),
                    ),
                )


def _cast(program: TrainingProgram, place: Location, name: str, position: int) -> Changes:
    call = edits.call_at(program, place)
    given = None if call is None else call.argument(name, position)
    return None if given is None else edits.call_method(program, given.value, ".float()")
