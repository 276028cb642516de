"""LOS001: probabilities where cross-entropy expects logits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Evidence, Finding, Related, Severity
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

SOFTMAX = frozenset({"softmax", "softmax2d"})

MEASURED_SHARE = 0.99
"""Share of the observed rows that must sum to one. Logits do so by chance almost never, so any
honest value works; the last per cent leaves room for padding rows."""


class SoftmaxIntoCrossEntropy(Rule):
    """Cross-entropy is given probabilities: softmax is applied twice.

    ## What it does
    Follows the first argument of `cross_entropy` (or `nn.CrossEntropyLoss`) back to the operation
    that made it, through reshapes, helper functions and the model's own `forward`, and reports
    when that is a softmax.

    ## Why it hurts
    `cross_entropy` applies log-softmax itself. Given probabilities in [0, 1] it can never become
    small: with every prediction perfectly right the loss is still 1.46 for 10 classes, 3.62 for
    100 and 5.91 for 1000, and the gradient is squashed on the way. Training crawls and stops at a
    loss that looks like a hard problem.

    ## Example
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(20, 10), nn.Softmax(dim=1))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(64, 20)
        y = torch.randint(0, 10, (64,))
        for epoch in range(10):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()

    ## Use instead
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(20, 10))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(64, 20)
        y = torch.randint(0, 10, (64,))
        for epoch in range(10):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()

    ## When it is fine
    A softmax that only serves predictions, plots or another loss; a softmax in evaluation mode
    alone; soft *targets*. A log-softmax before cross-entropy changes nothing.

    ## Measured
    `convlint probe` looks at what enters the loss: rows in [0, 1] that sum to one confirm it.

    ## References
    - PyTorch, `torch.nn.CrossEntropyLoss`: the input is expected to contain unnormalised logits
    """

    code, slug, severity = "LOS001", "softmax-into-cross-entropy", Severity.ERROR
    prediction = Prediction("rows summing to one", "at least", MEASURED_SHARE)
    fix = Applicability.UNSAFE
    measurements = ("initial loss",)

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per softmax whose output is the input of a trained cross-entropy."""
        graph = FlowGraph(program)
        reported: set[int | Location | None] = set()
        for loss in trained_losses(program, frozenset({"cross_entropy"})):
            softmax = graph.agreed_origin(loss.input, SOFTMAX)
            if softmax is None:
                continue
            fault = softmax.layer if softmax.layer is not None else softmax.location
            if fault in reported:
                continue
            reported.add(fault)
            related: tuple[Related, ...] = ()
            if softmax.location is not None and softmax.location != loss.location:
                related = (Related(softmax.location, "the softmax is applied here"),)
            yield self.finding(
                loss.location,
                "cross-entropy receives softmax probabilities and applies softmax once more, so "
                "the loss cannot approach zero and the gradient is squashed",
                help="pass the raw logits: remove the softmax (apply it only where predictions "
                "are read)",
                related=related,
                fix=self.repair(
                    "remove the softmax",
                    loss_edits.without_activation(program, graph, softmax, loss),
                ),
                evidence=(
                    Evidence("static", "the input of cross_entropy comes straight from a softmax"),
                ),
            )

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """One finding per cross-entropy whose input rows are probability distributions."""
        for loss in _cross_entropies(seen):
            if not _distributions(loss):
                continue
            yield self.finding(
                place_to_location(loss.place, seen),
                f"cross-entropy receives probabilities: {share(loss.rows_sum_to_one or 0.0)} of "
                "its input rows lie in [0, 1] and sum to one, so softmax is applied twice",
                help="pass the raw logits: remove the softmax",
                evidence=measured_evidence(
                    "share of the rows entering the loss that sum to one",
                    quantity="rows summing to one",
                    value=loss.rows_sum_to_one,
                    expected="almost none: logits are unconstrained",
                ),
            )

    def reading(self, seen: Observations) -> str | None:
        """How many of the rows that entered cross-entropy sum to one."""
        shares = [
            loss.rows_sum_to_one
            for loss in _cross_entropies(seen)
            if loss.rows_sum_to_one is not None
        ]
        if not shares:
            return None
        return f"{share(max(shares))} of the rows entering cross-entropy sum to one"


def _cross_entropies(seen: Observations) -> tuple[LossFunction, ...]:
    return tuple(
        loss for loss in seen.losses if loss.function == "cross_entropy" and loss.back_propagated
    )


def _distributions(loss: LossFunction) -> bool:
    """Whether the loss's input rows are probability distributions over at least two classes."""
    if loss.classes is not None and loss.classes < 2:
        return False
    return (loss.rows_sum_to_one or 0.0) >= MEASURED_SHARE
