"""NUM003: a logarithm of a probability that can be zero."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Confidence, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.flows import FlowGraph, one_per_place
from convlint.rules.patterns.gradients import Gradients
from convlint.rules.patterns.logarithms import logarithms, logarithms_of_shares

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Finding, Location
    from convlint.program.facts import TrainingProgram


class UnclampedLog(Rule):
    """The loss takes the logarithm of a probability that can be zero.

    ## What it does
    Reports `log(p)` and `log(1 - p)` in a back-propagated loss where p is what a model returns from a
    softmax or sigmoid, or a share `x / x.sum()`, with nothing that keeps it from zero.

    ## Why it hurts
    A confident model rounds p to exactly 0 or 1. The loss is then infinite and its gradient NaN, and one
    such step destroys the weights.

    ## Example
        import torch
        from torch import nn

        discriminator = nn.Sequential(nn.Linear(20, 1), nn.Sigmoid())
        optimizer = torch.optim.Adam(discriminator.parameters())
        real, fake = torch.randn(64, 20), torch.rand(64, 20)
        for epoch in range(10):
            optimizer.zero_grad()
            loss = -(torch.log(discriminator(real)) + torch.log(1 - discriminator(fake))).mean()
            loss.backward()
            optimizer.step()

    ## Use instead
        import torch
        from torch import nn

        discriminator = nn.Sequential(nn.Linear(20, 1), nn.Sigmoid())
        optimizer = torch.optim.Adam(discriminator.parameters())
        real, fake = torch.randn(64, 20), torch.rand(64, 20)
        for epoch in range(10):
            optimizer.zero_grad()
            loss = -(torch.log(discriminator(real).clamp(1e-7)) + torch.log((1 - discriminator(fake)).clamp(1e-7))).mean()
            loss.backward()
            optimizer.step()

    ## When it is fine
    A clamp, an added constant, `xlogy`; logarithms outside the loss.

    ## Measured
    `convlint probe` looks for NaN and infinities; they come late, so silence refutes nothing.

    ## References
    - PyTorch, `torch.nn.BCELoss`: clamps its logarithms at -100 for this reason
    """

    code, slug, severity = "NUM003", "unclamped-log", Severity.WARNING
    fix = Applicability.UNSAFE
    confidence = Confidence.MEDIUM
    confirmed_by = ("non-finite",)
    silence_refutes = False

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per trained logarithm of a value that reaches zero."""
        graph = FlowGraph(program)
        gradients = Gradients(program, graph)
        places: set[Location] = set()
        logs = [log for log in logarithms(program, graph) if log.of_model and log.offset is None]
        for log in (*logs, *logarithms_of_shares(program, graph)):
            if not gradients.is_trained(log.flow.id) or not gradients.carries(log.flow.id):
                continue
            if one_per_place(places, log.location):
                what = f"the {log.source.op} of a model" if log.of_model else "a share of a sum"
                yield self.finding(
                    log.location,
                    f"the logarithm of {what} is infinite, with a NaN gradient, once it rounds to zero",
                    help="let the model return logits and use a loss on logits, or clamp(1e-7, 1 - 1e-7)",
                    fix=self.repair(
                        "keep the value away from zero",
                        edits.call_method(
                            program,
                            edits.operand_of(program, log.location),
                            ".clamp(min=1e-7)",
                        ),
                    ),
                )
