"""LOP033: the clipped parameters are not those the optimizer updates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.program.facts import EventKind
from convlint.rules import Rule
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.ownership import Match, acts_on, name_of, object_of, sole_optimizer
from convlint.rules.patterns.paths import training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram


class ClipOtherParameters(Rule):
    """Clipping concerns other parameters than the optimizer updates.

    ## What it does
    Reports clipping whose parameters have nothing in common with those of the loop's only
    optimizer.

    ## Why it hurts
    The gradients that drive the step stay as large as they are. The call looks like a safeguard
    and is none.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        encoder = nn.Linear(8, 8)
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(encoder(x)), y)
                loss.backward()
                nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
                optimizer.step()

    ## Use instead
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()

    ## When it is fine
    Several clips that together cover the optimizer, parameters that cannot be resolved, several
    optimizers: none is reported.

    ## Measured
    Not measured on its own: unclipped spikes show as `gradient-spikes`.

    ## References
    - PyTorch documentation, `torch.nn.utils.clip_grad_norm_`
    """

    code = "LOP033"
    slug = "clip-other-parameters"
    severity = Severity.WARNING

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report loops all of whose clips miss the parameters of the optimizer."""
        places: set[Location] = set()
        for loop in training_loops(program):
            clips = loop.of_kind(EventKind.CLIP)
            for optimizer in loop.optimizers:
                if not clips or not sole_optimizer(loop, optimizer):
                    continue
                if any(acts_on(program, o.event, optimizer) is not Match.NO for o in clips):
                    continue
                if one_per_place(places, clips[0].event.location):
                    name = name_of(object_of(program, optimizer), "the optimizer")
                    yield self.finding(
                        clips[0].event.location,
                        f"the clipped parameters are none of those `{name}` updates",
                        help=f"clip the parameters that were given to `{name}`",
                    )
