"""NRM001: a bias that a batch normalisation takes away again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Evidence, Finding, Related, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.applied import is_batch_norm, successive
from convlint.rules.patterns.flows import (
    one_per_place,
)
from convlint.rules.patterns.layers import (
    canonical,
    is_weight_layer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import (
        Object,
        TrainingProgram,
    )


class BiasBeforeNorm(Rule):
    """A layer before batch normalisation has a bias.

    ## What it does
    Reports a linear or convolutional layer with a bias whose output goes straight into batch
    normalisation.

    ## Why it hurts
    The normalisation subtracts the mean of every channel, and the bias with it: the parameter
    costs memory and time and never has a gradient other than rounding noise.

    ## Example
        import torch
        from torch import nn

        model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## Use instead
        import torch
        from torch import nn

        model = nn.Sequential(nn.Conv2d(3, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## When it is fine
    Nothing breaks by it, and dropping the bias makes old checkpoints unreadable: this is a note,
    and off unless selected. Other normalisations are left alone.

    ## Measured
    Not measured.

    ## References
    - Ioffe and Szegedy, Batch normalization, ICML 2015, section 3.2
    """

    code, slug, severity = "NRM001", "bias-before-norm", Severity.INFO
    fix = Applicability.UNSAFE
    default = False
    unmeasured_because = "it is a matter of structure, which the probe does not measure"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per layer, where it is made."""
        reported: set[Location] = set()
        for first, second in successive(program):
            if not _at_fault(first, second) or not one_per_place(reported, first.location):
                continue
            yield self.finding(
                first.location,
                f"the bias of this {first.cls.rpartition('.')[2]} is subtracted again by the batch "
                "normalisation that follows",
                help="pass `bias=False`",
                fix=self.repair(
                    "drop the bias", edits.set_argument(program, first.location, "bias", "False")
                ),
                related=(Related(second.location, "the normalisation"),),
                evidence=(Evidence("static", "bias, then batch normalisation"),),
            )


def _at_fault(first: Object, second: Object) -> bool:
    bias = first.args.get("bias")
    return (
        is_weight_layer(canonical(first.cls))
        and is_batch_norm(second)
        and bias is not None
        and bias.constant is True
    )
