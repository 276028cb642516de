"""LOS004: a negative log-likelihood of numbers that are not log-probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Confidence, Evidence, Finding, Related, Severity
from convlint.predictions import Prediction
from convlint.rules import Rule
from convlint.rules.patterns import loss_edits
from convlint.rules.patterns.figures import measured_evidence, share
from convlint.rules.patterns.flows import FlowGraph
from convlint.rules.patterns.losses import trained_losses
from convlint.rules.patterns.places import place_to_location

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.gpu_probes.observations import LossFunction, Observations
    from convlint.program.facts import TrainingProgram

PROBABILITIES = frozenset({"softmax", "softmax2d"})
RAW_OUTPUT = frozenset({"linear", "lazy_linear"})

HEALTHY_SHARE = 0.5
"""Log-probabilities are such in every row; under a half means that something else goes in. The
gap leaves room for rows masked to -inf and for reduced precision."""


class NllNeedsLogProbs(Rule):
    """`nll_loss` is given numbers that are not log-probabilities.

    ## What it does
    Follows the first argument of `nll_loss` (`nn.NLLLoss`) back to the operation that made it,
    and reports a softmax (certain) or a plain linear layer (likely).

    ## Why it hurts
    `nll_loss` only picks the entry of the right class and negates it. On probabilities it
    minimises a loss without the logarithm, whose gradient vanishes exactly where the model is
    wrong. On raw outputs it is unbounded below: the loss falls for ever while nothing is learned.

    ## Example
        import torch
        import torch.nn.functional as F
        from torch import nn

        model = nn.Sequential(nn.Linear(20, 10), nn.Softmax(dim=1))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(64, 20)
        y = torch.randint(0, 10, (64,))
        for epoch in range(10):
            optimizer.zero_grad()
            loss = F.nll_loss(model(x), y)
            loss.backward()
            optimizer.step()

    ## Use instead
        import torch
        import torch.nn.functional as F
        from torch import nn

        model = nn.Sequential(nn.Linear(20, 10), nn.LogSoftmax(dim=1))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(64, 20)
        y = torch.randint(0, 10, (64,))
        for epoch in range(10):
            optimizer.zero_grad()
            loss = F.nll_loss(model(x), y)
            loss.backward()
            optimizer.step()

    ## When it is fine
    `torch.log` of probabilities, `log_softmax`, a mixture combined in log space. A model that
    cannot be seen from here is not judged.

    ## Measured
    `convlint probe` checks whether the exponentials of each row that enters the loss sum to one.

    ## References
    - PyTorch, `torch.nn.NLLLoss`: the input is expected to contain log-probabilities
    """

    code, slug, severity = "LOS004", "nll-needs-log-probs", Severity.ERROR
    prediction = Prediction("log-probability rows", "below", HEALTHY_SHARE)
    fix = Applicability.UNSAFE
    measurements = ("initial loss",)

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per output that reaches a trained nll_loss without a logarithm."""
        graph = FlowGraph(program)
        reported: set[int | Location | None] = set()
        for loss in trained_losses(program, frozenset({"nll_loss"})):
            source = graph.agreed_origin(loss.input, PROBABILITIES | RAW_OUTPUT)
            if source is None:
                continue
            fault = source.layer if source.layer is not None else source.location
            if fault in reported:
                continue
            reported.add(fault)
            probabilities = source.op in PROBABILITIES
            what = "softmax probabilities" if probabilities else "the raw output of a linear layer"
            related: tuple[Related, ...] = ()
            if source.location is not None and source.location != loss.location:
                made = "the softmax" if probabilities else "the last layer"
                related = (Related(source.location, f"{made} is applied here"),)
            yield self.finding(
                loss.location,
                f"nll_loss expects log-probabilities, but receives {what}",
                help="use log_softmax instead of softmax"
                if probabilities
                else "apply log_softmax to the output, or use cross_entropy, which includes it",
                confidence=Confidence.HIGH if probabilities else Confidence.MEDIUM,
                related=related,
                fix=self.repair(
                    "use log_softmax",
                    loss_edits.rename_operation(program, source, "log_softmax", "LogSoftmax"),
                )
                if probabilities
                else self.repair(
                    "use cross_entropy, which applies log_softmax itself",
                    loss_edits.rename_loss(program, loss, "cross_entropy", "CrossEntropyLoss"),
                ),
                evidence=(Evidence("static", f"the input of nll_loss is {what}"),),
            )

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """One finding per nll_loss whose rows are not log-probabilities."""
        for loss in _likelihoods(seen):
            rows = loss.rows_log_probabilities
            if rows is None or rows >= HEALTHY_SHARE:
                continue
            yield self.finding(
                place_to_location(loss.place, seen),
                f"nll_loss expects log-probabilities, but only {share(rows)} of its input rows "
                f"are ({_what(loss)})",
                help="apply log_softmax to the output, or use cross_entropy on the raw logits",
                evidence=measured_evidence(
                    "share of the rows entering the loss whose exponentials sum to one",
                    quantity="log-probability rows",
                    value=rows,
                    expected="1",
                ),
            )

    def reading(self, seen: Observations) -> str | None:
        """How many of the rows that entered nll_loss are log-probabilities."""
        shares = [
            loss.rows_log_probabilities
            for loss in _likelihoods(seen)
            if loss.rows_log_probabilities is not None
        ]
        if not shares:
            return None
        return f"{share(min(shares))} of the rows entering nll_loss are log-probabilities"


def _likelihoods(seen: Observations) -> tuple[LossFunction, ...]:
    return tuple(
        loss for loss in seen.losses if loss.function == "nll_loss" and loss.back_propagated
    )


def _what(loss: LossFunction) -> str:
    """What the rows seem to be instead."""
    if (loss.rows_sum_to_one or 0.0) > HEALTHY_SHARE:
        return "they are probabilities: softmax without the logarithm"
    return "they look like raw outputs"
