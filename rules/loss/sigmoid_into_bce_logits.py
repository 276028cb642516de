"""LOS003: probabilities where a loss with built-in sigmoid expects logits."""

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

LOGIT_LOSSES = frozenset(
    {
        "binary_cross_entropy_with_logits",
        "sigmoid_focal_loss",
        "multilabel_soft_margin_loss",
    }
)
"""Losses that apply the sigmoid themselves."""
SIGMOID = frozenset({"sigmoid", "expit"})

RAW = frozenset({"Addmm", "Mm", "Bmm", "Add", "Convolution"})
"""Operations that give raw scores. Those of a fresh network may well all lie in [0, 1]."""
MEASURED_SHARE = 0.999
"""Share of the observed values in [0, 1]. About half of all logits are negative, so a batch of
logits lies in the unit interval with a probability that falls geometrically with its size."""
MINIMUM_VALUES = 16
"""Below this many values per call, logits may lie in [0, 1] by chance."""


class SigmoidIntoBceLogits(Rule):
    """A loss that applies the sigmoid itself is given the output of a sigmoid.

    ## What it does
    Follows the first argument of `binary_cross_entropy_with_logits` (`nn.BCEWithLogitsLoss`),
    `sigmoid_focal_loss` or `multilabel_soft_margin_loss` back to the operation that made it, and
    reports when that is a sigmoid.

    ## Why it hurts
    The sigmoid of a value in [0, 1] lies in [0.5, 0.73]: the model can never predict the negative
    class with a probability under one half. The loss stops near 0.5 and the gradient is scaled
    down by the derivative of the first sigmoid.

    ## Example
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(20, 1), nn.Sigmoid())
        criterion = nn.BCEWithLogitsLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(64, 20)
        y = torch.randint(0, 2, (64, 1)).float()
        for epoch in range(10):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()

    ## Use instead
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(20, 1))
        criterion = nn.BCEWithLogitsLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(64, 20)
        y = torch.randint(0, 2, (64, 1)).float()
        for epoch in range(10):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()

    ## When it is fine
    A sigmoid that only serves predictions, metrics or another loss, such as a dice loss beside
    the cross-entropy. `nn.BCELoss` after a sigmoid is the right pair.

    ## Measured
    `convlint probe` looks at what enters the loss: values that all lie in [0, 1] confirm it.

    ## References
    - PyTorch, `torch.nn.BCEWithLogitsLoss`: combines a sigmoid layer and the BCELoss
    """

    code, slug, severity = "LOS003", "sigmoid-into-bce-logits", Severity.ERROR
    prediction = Prediction("values in [0, 1]", "at least", MEASURED_SHARE)
    fix = Applicability.UNSAFE
    measurements = ("initial loss",)

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per sigmoid whose output is the input of a trained logit loss."""
        graph = FlowGraph(program)
        reported: set[int | Location | None] = set()
        for loss in trained_losses(program, LOGIT_LOSSES):
            sigmoid = graph.agreed_origin(loss.input, SIGMOID)
            if sigmoid is None:
                continue
            fault = sigmoid.layer if sigmoid.layer is not None else sigmoid.location
            if fault in reported:
                continue
            reported.add(fault)
            related: tuple[Related, ...] = ()
            if sigmoid.location is not None and sigmoid.location != loss.location:
                related = (Related(sigmoid.location, "the sigmoid is applied here"),)
            yield self.finding(
                loss.location,
                f"{loss.name} applies the sigmoid itself, but its input went through a sigmoid "
                "already, so no prediction can fall below one half",
                help="pass the raw logits: remove the sigmoid (apply it only where predictions "
                "are read)",
                related=related,
                fix=self.repair(
                    "remove the sigmoid",
                    loss_edits.without_activation(program, graph, sigmoid, loss),
                ),
                evidence=(
                    Evidence("static", f"the input of {loss.name} comes straight from a sigmoid"),
                ),
            )

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """One finding per logit loss that only ever saw values in [0, 1]."""
        for loss in _logit_losses(seen):
            if _values(loss) < MINIMUM_VALUES:
                continue
            if (loss.values_in_unit_interval or 0.0) < MEASURED_SHARE or loss.made_by in RAW:
                continue
            yield self.finding(
                place_to_location(loss.place, seen),
                f"{loss.function} expects logits, but all its inputs lie in [0, 1]: a sigmoid was "
                "applied before, so no prediction can fall below one half",
                help="pass the raw logits: remove the sigmoid",
                evidence=measured_evidence(
                    "share of the values entering the loss that lie in [0, 1]",
                    quantity="values in [0, 1]",
                    value=loss.values_in_unit_interval,
                    expected="well below 1: about half of all logits are negative",
                ),
            )

    def reading(self, seen: Observations) -> str | None:
        """How many of the values that entered the loss lie in [0, 1]."""
        shares = [
            loss.values_in_unit_interval
            for loss in _logit_losses(seen)
            if loss.values_in_unit_interval is not None and _values(loss) >= MINIMUM_VALUES
        ]
        if not shares:
            return None
        return f"{share(max(shares))} of the values entering the loss lie in [0, 1]"


def _logit_losses(seen: Observations) -> tuple[LossFunction, ...]:
    return tuple(
        loss for loss in seen.losses if loss.function in LOGIT_LOSSES and loss.back_propagated
    )


def _values(loss: LossFunction) -> int:
    """Values the loss was given over all observed calls."""
    size = 1
    for extent in loss.input_shape:
        size *= extent
    return size * loss.calls
