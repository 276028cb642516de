"""NRM013: a dropout that leaves little of the signal."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from convlint.findings import (
    Evidence,
    Finding,
    Severity,
)
from convlint.lazy_regex import lazy_regex
from convlint.rule_options import Option
from convlint.rules import Rule
from convlint.rules.patterns.flows import (
    one_per_place,
)
from convlint.rules.patterns.imported import uses_library
from convlint.rules.patterns.layers import (
    DROPOUT_OPS,
    canonical,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import (
        TrainingProgram,
    )

EXTREME = 0.7
"""Published architectures use 0.1 to 0.5, graph attention 0.6."""
GRAPHS = ("torch_geometric", "dgl")
"""Node features are bags of words, of which published graph networks drop 0.6 to 0.9."""
NOT_OF_UNITS = lazy_regex(
    r"word|emb|token|input|feat|weight_?drop|drop_?connect|dropped_?weight", re.IGNORECASE
)
"""What is dropped are words, inputs that are mostly zero, or single weights, of which every unit
keeps others."""


class ExtremeDropout(Rule):
    """Dropout removes most of the signal.

    ## What it does
    Reports a dropout probability of 0.7 or more.

    ## Why it hurts
    With probability p the variance of what passes grows by 1 / (1 - p): at 0.8 five times. The
    gradient noise grows with it, and the model underfits. The value is often meant as the share to
    keep, as in old TensorFlow.

    ## Example
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Dropout(0.9), nn.Linear(64, 2))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## Use instead
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 2))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## When it is fine
    Dropout of whole words or embeddings, of inputs that are mostly zero, and of single weights
    (DropConnect).

    ## Measured
    Not measured.

    ## References
    - Srivastava et al., Dropout, JMLR 2014: 0.5 for hidden units, 0.2 for inputs
    """

    code, slug, severity = "NRM013", "extreme-dropout", Severity.WARNING
    unmeasured_because = "it is a matter of structure, which the probe does not measure"

    limit = Option(EXTREME, "The probability from which on it is reported.", least=0, most=1)

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per dropout."""
        if uses_library(program, *GRAPHS):
            return
        reported: set[Location] = set()
        made = [
            (item.cls, item.location, item.args.get("p"), item.names) for item in program.objects
        ]
        made += [
            (call.name, call.location, call.args.get("p"), call.within)
            for call in program.calls
            if call.name.startswith("torch.nn.functional.")
        ]
        for name, location, given, names in made:
            probability = given.number if given is not None else None
            if canonical(name) not in DROPOUT_OPS or given is None or probability is None:
                continue
            if not self.limit <= probability <= 1.0 or any(NOT_OF_UNITS.search(n) for n in names):
                continue
            if one_per_place(reported, location):
                source = given.origin.text if given.origin is not None else ""
                yield self.finding(
                    given.location or location,
                    f"dropout removes {probability:.0%} of the signal"
                    + (f" ({source})" if source else ""),
                    help="p is the share that is dropped, not the share kept; 0.1 to 0.5 is usual",
                    evidence=(Evidence("static", f"p = {probability:g}"),),
                )
