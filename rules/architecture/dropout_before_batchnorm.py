"""NRM002: dropout directly before batch normalisation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import (
    Evidence,
    Finding,
    Related,
    Severity,
)
from convlint.rules import Rule
from convlint.rules.patterns.applied import is_batch_norm, successive
from convlint.rules.patterns.flows import (
    one_per_place,
)
from convlint.rules.patterns.layers import (
    DROPOUT_OPS,
    canonical,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import (
        Object,
        TrainingProgram,
    )

SMALL = 0.1
"""Below this probability the variance changes by less than a ninth."""


class DropoutBeforeBatchnorm(Rule):
    """Batch normalisation learns its statistics from the output of a dropout.

    ## What it does
    Reports a dropout whose output goes straight into batch normalisation.

    ## Why it hurts
    While training, dropout raises the variance of what it passes on; when evaluating it does not.
    The running variance that the normalisation learned is then too large for every input it meets,
    and evaluation is worse than training for no visible reason.

    ## Example
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Dropout(0.5), nn.BatchNorm1d(64), nn.Linear(64, 2))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## Use instead
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(20, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 2))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## When it is fine
    Channel dropout with a small probability, whose shift of the variance is small.

    ## Measured
    Not measured.

    ## References
    - Li et al., Understanding the disharmony between dropout and batch normalization by variance
      shift, CVPR 2019
    """

    code, slug, severity = "NRM002", "dropout-before-batchnorm", Severity.WARNING
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
                "dropout feeds batch normalisation, whose running variance is then that of training only",
                help="put the dropout after the last normalisation, or drop it",
                related=(Related(second.location, "the normalisation"),),
                evidence=(Evidence("static", "dropout, then batch normalisation"),),
            )


def _at_fault(first: Object, second: Object) -> bool:
    probability = first.args.get("p")
    p = probability.number if probability is not None else None
    return (
        canonical(first.cls) in DROPOUT_OPS
        and is_batch_norm(second)
        and p is not None
        and p >= SMALL
    )
