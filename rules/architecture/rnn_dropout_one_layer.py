"""NRM020: recurrent dropout that has no place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Evidence, Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.flows import (
    one_per_place,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import (
        TrainingProgram,
    )

STACKABLE = frozenset({"torch.nn.LSTM", "torch.nn.GRU", "torch.nn.RNN"})
WRITTEN = frozenset({"literal", "library default"})
"""Origins of a number of layers that nobody changes from outside."""


class RnnDropoutOneLayer(Rule):
    """The dropout of a recurrent layer has no effect.

    ## What it does
    Reports `nn.LSTM`, `nn.GRU` or `nn.RNN` with `dropout` above zero and a single layer.

    ## Why it hurts
    The dropout of a recurrent module acts between its stacked layers. With one layer there is
    nothing between, and the regularisation you count on is not there.

    ## Example
        import torch
        from torch import nn

        model = nn.LSTM(8, 32, dropout=0.5)
        optimizer = torch.optim.Adam(model.parameters())

    ## Use instead
        import torch
        from torch import nn

        model = nn.LSTM(8, 32, num_layers=2, dropout=0.5)
        optimizer = torch.optim.Adam(model.parameters())

    ## When it is fine
    More than one layer, or a number of layers given from outside.

    ## Measured
    Not measured.

    ## References
    - PyTorch, `torch.nn.LSTM`: dropout on the outputs of each layer except the last
    """

    code, slug, severity = "NRM020", "rnn-dropout-one-layer", Severity.WARNING
    fix = Applicability.SAFE
    unmeasured_because = "it is a matter of structure, which the probe does not measure"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per layer."""
        reported: set[Location] = set()
        for layer in program.objects:
            if layer.cls not in STACKABLE:
                continue
            dropout, depth = layer.args.get("dropout"), layer.args.get("num_layers")
            rate = dropout.number if dropout is not None else None
            if dropout is None or rate is None or rate <= 0 or depth is None or depth.number != 1:
                continue
            if depth.origin is not None and depth.origin.kind not in WRITTEN:
                continue
            if one_per_place(reported, layer.location):
                yield self.finding(
                    dropout.location or layer.location,
                    f"dropout={rate:g} of a single {layer.cls.rpartition('.')[2]} layer has no effect",
                    help="apply `nn.Dropout` to the output, or stack two layers",
                    evidence=(Evidence("static", "num_layers is 1"),),
                    fix=self.repair(
                        "leave it out",
                        edits.remove_argument(program, layer.location, "dropout"),
                    ),
                )
