"""LOP023: a clipping call that clips nothing, or under a name that is gone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from convlint.findings import Applicability, Finding, Severity
from convlint.program.facts import EventKind
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.gradients import events_of_kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram

READS_THE_NORM = 1e6
"""No gradient of a run that can still be saved is this long: the call only reads the norm."""
DEPRECATED = frozenset({"torch.nn.utils.clip_grad_norm", "torch.nn.utils.clip_grad.clip_grad_norm"})


class NormReadAsClip(Rule):
    """A call that looks like clipping clips nothing, or has a deprecated name.

    ## What it does
    Reports `clip_grad_norm_` with an infinite norm, or one of a million and more, which only reads
    the norm of the gradient; and the old name `clip_grad_norm`, without the underscore.

    ## Why it hurts
    Whoever reads the script takes the gradients for clipped. The old name only forwards to the new
    one, warns on every call, and will be removed.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for x, y in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            nn.utils.clip_grad_norm(model.parameters(), 1.0)
            optimizer.step()

    ## Use instead
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for x, y in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

    ## When it is fine
    Reading the norm on purpose, to log it: `torch.nn.utils.get_total_norm` says so by its name. A
    limit that is large but finite is the business of `clip-threshold-odd`.

    ## Measured
    Not measured: whether gradients spike is measured for `missing-clipping`.

    ## References
    - PyTorch documentation, `torch.nn.utils.clip_grad_norm_` and `get_total_norm`
    """

    code, slug, severity = "LOP023", "norm-read-as-clip", Severity.INFO
    fix = Applicability.SAFE
    unmeasured_because = "it is a matter of names, which the probe does not measure"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report each such call."""
        places: set[Location] = set()
        for event in events_of_kind(program, EventKind.CLIP):
            if event.name in DEPRECATED:
                if one_per_place(places, event.location):
                    yield self.finding(
                        event.location,
                        "clip_grad_norm is deprecated and warns on every call",
                        help="write clip_grad_norm_, with the underscore",
                        fix=self.repair(
                            "use the new name",
                            edits.rename_last_part(program, event.location, "clip_grad_norm_"),
                        ),
                    )
                continue
            limit = event.args.get("max_norm")
            if limit is None or limit.number is None:
                continue
            if limit.number >= READS_THE_NORM and one_per_place(places, event.location):
                shown = "inf" if math.isinf(limit.number) else f"{limit.number:g}"
                yield self.finding(
                    event.location,
                    f"with a maximum norm of {shown} this reads the norm and clips nothing",
                    help="if only the norm is wanted, torch.nn.utils.get_total_norm says so; to clip, "
                    "start from a norm of 1",
                )
