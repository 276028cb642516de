"""NRM005: batch normalisation momentum of the other library."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Evidence, Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.applied import is_batch_norm
from convlint.rules.patterns.flows import (
    one_per_place,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import (
        TrainingProgram,
    )

TORCH_HIGH = 0.9
"""torch's default is 0.1; from 0.9 on nothing of the older batches is left after two more."""
KERAS_LOW = 0.2
"""The same seen from Keras, whose default is 0.99."""


class BnMomentumConvention(Rule):
    """The momentum of batch normalisation is given in the other library's sense.

    ## What it does
    Reports `momentum` of 0.9 or more for batch normalisation in torch, and of 0.2 or less in
    Keras.

    ## Why it hurts
    In torch the momentum is the share of the new batch (default 0.1), in Keras that of the old
    average (default 0.99). With the wrong one the running statistics are those of the last batch,
    and evaluation follows its noise.

    ## Example
        import torch
        from torch import nn

        model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16, momentum=0.99), nn.ReLU())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## Use instead
        import torch
        from torch import nn

        model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16, momentum=0.01), nn.ReLU())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## When it is fine
    `momentum=None` (a plain average); statistics of the whole data in one batch.

    ## Measured
    Not measured.

    ## References
    - PyTorch, `torch.nn.BatchNorm2d`: the note on momentum
    - Keras, `BatchNormalization`: momentum defaults to 0.99
    """

    code, slug, severity = "NRM005", "bn-momentum-convention", Severity.WARNING
    fix = Applicability.UNSAFE
    unmeasured_because = "it is a matter of structure, which the probe does not measure"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per normalisation layer."""
        reported: set[Location] = set()
        made = [
            (layer.cls, layer.location, layer.args.get("momentum"), is_batch_norm(layer))
            for layer in program.objects
        ]
        made += [
            (call.name, call.location, call.args.get("momentum"), False)
            for call in program.calls
            if call.name.endswith(".BatchNormalization")
        ]
        for cls, location, momentum, torch_sense in made:
            value = momentum.number if momentum is not None else None
            if value is None or not one_per_place(reported, location):
                continue
            keras_sense = cls.endswith(".BatchNormalization")
            if torch_sense and TORCH_HIGH <= value < 1.0:
                share, meant = value, "of the running statistics are the last batch's"
            elif keras_sense and 0.0 < value <= KERAS_LOW:
                share, meant = 1.0 - value, "of the running statistics are the last batch's"
            else:
                continue
            yield self.finding(
                momentum.location
                if momentum is not None and momentum.location is not None
                else location,
                f"momentum {value:g} means that {share:.0%} {meant}: the convention is the other "
                "library's",
                help=f"use {1.0 - value:g}",
                fix=self.repair(
                    f"use {1.0 - value:g}",
                    edits.set_value(program, momentum, f"{1.0 - value:g}"),
                ),
                evidence=(
                    Evidence("static", f"momentum of {cls.rpartition('.')[2]} is {value:g}"),
                ),
            )
