"""LOP022: a clipping threshold that clips nothing or nearly everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Confidence, Finding, Severity
from convlint.program.facts import EventKind
from convlint.rule_options import Option
from convlint.rules import Rule
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.training_loops import training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import Event, TrainingProgram, Value

LARGE_NORM = 100.0
"""A hundred times the usual norm of 1."""
LARGE_VALUE = 10.0
"""Per element; elements of a gradient of norm 1 are far below 1."""
SMALL_NORM = 1e-3
"""A thousandth of the usual norm."""
READS_THE_NORM = 1e6
"""From here on the call is an idiom to read the norm."""


class ClipThresholdOdd(Rule):
    """The clipping threshold clips nothing, or nearly everything.

    ## What it does
    Reports `clip_grad_norm_` with a norm of 100 or more or of 0.001 or less, and
    `clip_grad_value_` with a value of 10 or more.

    ## Why it hurts
    Gradient norms of healthy runs lie between about 0.01 and 10. A threshold far above lets
    every spike through; one far below turns every step into a normalised one of tiny length.

    ## Example
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
                nn.utils.clip_grad_norm_(model.parameters(), 1000.0)
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
    Thresholds of 1e6 and more (infinity included) read the norm without clipping and are not
    reported.

    ## Measured
    `convlint probe` sees the spikes that such a threshold lets through as `gradient-spikes`.

    ## References
    - Pascanu et al., "On the difficulty of training recurrent neural networks", 2013
    """

    code = "LOP022"
    slug = "clip-threshold-odd"
    severity = Severity.WARNING
    confidence = Confidence.MEDIUM

    largest_norm = Option(LARGE_NORM, "The norm from which on it is reported.", least=0)
    largest_value = Option(LARGE_VALUE, "The value from which on it is reported.", least=0)
    smallest_norm = Option(SMALL_NORM, "The largest norm that is reported as too small.", least=0)

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report thresholds outside of the range in which clipping does something."""
        places: set[Location] = set()
        for loop in training_loops(program):
            for clip in loop.of_kind(EventKind.CLIP):
                by_value = "value" in clip.event.flags or "value" in clip.event.name
                limit = _limit(clip.event, "clip_value" if by_value else "max_norm")
                if limit is None or limit.number is None:
                    continue
                place = limit.location or clip.event.location
                size = limit.number
                top = self.largest_value if by_value else self.largest_norm
                if top <= size < READS_THE_NORM and one_per_place(places, place):
                    yield self.finding(
                        place,
                        f"a threshold of {size:g} is above every gradient of a healthy run, so "
                        "nothing is clipped",
                        help="start from a norm of 1",
                    )
                elif (
                    not by_value and 0 < size <= self.smallest_norm and one_per_place(places, place)
                ):
                    yield self.finding(
                        place,
                        f"a threshold of {size:g} is below nearly every gradient, so each step is cut "
                        "down to it",
                        help="start from a norm of 1",
                    )


def _limit(event: Event, name: str) -> Value | None:
    return event.args.get(name) or event.args.get("1")
