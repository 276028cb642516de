"""DAT014: labels that no longer belong to their examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import (
    Evidence,
    Finding,
    Related,
    Severity,
)
from convlint.rules import Rule
from convlint.rules.patterns.flows import (
    FlowGraph,
    one_per_place,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import (
        Call,
        Flow,
        TrainingProgram,
    )

SHUFFLES = frozenset({"numpy.random.shuffle", "random.shuffle"})
SEEDS = frozenset({"numpy.random.seed", "random.seed", "numpy.random.set_state", "random.setstate"})


class LabelsShuffledApart(Rule):
    """Examples and labels are shuffled separately.

    ## What it does
    Reports two calls of `shuffle`, one on the features and one on the labels that were loaded with
    them, without setting the seed anew between.

    ## Why it hurts
    The two permutations differ: every label then belongs to a random example. The model can learn
    the frequencies of the classes and nothing else.

    ## Example
        import numpy as np
        import torch
        from sklearn.datasets import load_iris
        from torch import nn

        x, y = load_iris(return_X_y=True)
        np.random.shuffle(x)
        np.random.shuffle(y)
        model = nn.Linear(4, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    ## Use instead
        import numpy as np
        import torch
        from sklearn.datasets import load_iris
        from torch import nn

        x, y = load_iris(return_X_y=True)
        order = np.random.permutation(len(x))
        x, y = x[order], y[order]
        model = nn.Linear(4, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    ## When it is fine
    The same seed set before each call; one call that shuffles both (`sklearn.utils.shuffle(x,
    y)`).

    ## Measured
    `convlint probe` compares the loss with that of an uninformed prediction.

    ## References
    - NumPy, `numpy.random.shuffle`
    """

    code, slug, severity = "DAT014", "labels-shuffled-apart", Severity.ERROR
    confirmed_by = ("beats-no-baseline", "stalled-loss")

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per second shuffle."""
        graph = FlowGraph(program)
        reported: set[Location] = set()
        before: dict[tuple[str, tuple[str, ...]], tuple[Call, Flow]] = {}
        for call in program.calls:
            if call.name in SEEDS:
                before.clear()
            if call.name not in SHUFFLES or len(call.args) != 1:
                continue
            (value,) = call.args.values()
            origins = graph.origins(value.flow)
            if len(origins) != 1 or origins[0].op not in ("<array>", "<batch>"):
                continue
            array, key = origins[0], (call.name, call.within)
            earlier = before.get(key)
            before[key] = (call, array)
            if earlier is None or not _belong_together(earlier[1], array):
                continue
            if one_per_place(reported, call.location):
                yield self.finding(
                    call.location,
                    "the labels are shuffled apart from their examples",
                    help="draw one permutation and index both with it",
                    related=(Related(earlier[0].location, "the other shuffle"),),
                    evidence=(Evidence("static", "two shuffles, two permutations"),),
                )


def _belong_together(one: Flow, other: Flow) -> bool:
    """Whether these are the features and the labels of one load."""
    return (
        one.name == other.name
        and one.source == other.source
        and one.index is not None
        and other.index is not None
        and one.index != other.index
    )
