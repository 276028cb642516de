"""LOS002: log-softmax in front of a loss that applies it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Severity
from convlint.rules import Rule
from convlint.rules.patterns import loss_edits
from convlint.rules.patterns.flows import FlowGraph, one_per_place
from convlint.rules.patterns.losses import trained_losses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Finding, Location
    from convlint.program.facts import TrainingProgram

LOG_SOFTMAX = frozenset({"log_softmax"})


class RedundantLogSoftmax(Rule):
    """Cross-entropy is given log-probabilities: log-softmax is applied twice.

    ## What it does
    Follows the first argument of `cross_entropy` back to the operation that made it and reports a
    log-softmax.

    ## Why it hurts
    The result is the same, since log-softmax of log-probabilities changes nothing: only time is lost,
    and a reader is misled about what the model returns.

    ## Example
        import torch
        import torch.nn.functional as F
        from torch import nn

        model = nn.Linear(20, 10)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(64, 20)
        y = torch.randint(0, 10, (64,))
        for epoch in range(10):
            optimizer.zero_grad()
            loss = F.cross_entropy(F.log_softmax(model(x), dim=1), y)
            loss.backward()
            optimizer.step()

    ## Use instead
        import torch
        import torch.nn.functional as F
        from torch import nn

        model = nn.Linear(20, 10)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(64, 20)
        y = torch.randint(0, 10, (64,))
        for epoch in range(10):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()

    ## When it is fine
    `nll_loss` wants log-probabilities; so does `kl_div`. A log-softmax in evaluation mode alone.

    ## Measured
    Nothing is measured for it.

    ## References
    - PyTorch, `torch.nn.CrossEntropyLoss`: equivalent to LogSoftmax followed by NLLLoss
    """

    code, slug, severity = "LOS002", "redundant-log-softmax", Severity.INFO
    fix = Applicability.UNSAFE
    default = False

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per cross-entropy fed by a log-softmax."""
        graph = FlowGraph(program)
        places: set[Location] = set()
        for loss in trained_losses(program, frozenset({"cross_entropy"})):
            log_softmax = graph.agreed_origin(loss.input, LOG_SOFTMAX)
            if log_softmax is None:
                continue
            if one_per_place(places, loss.location):
                yield self.finding(
                    loss.location,
                    "cross-entropy applies log-softmax itself: the log-softmax before it has no effect",
                    help="pass the raw logits, or use nll_loss",
                    fix=self.repair(
                        "remove the log-softmax",
                        loss_edits.without_activation(program, graph, log_softmax, loss),
                    ),
                )
