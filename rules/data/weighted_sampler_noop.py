"""DAT013: weights that do not matter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Evidence, Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.flows import (
    FlowGraph,
    one_per_place,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import (
        TrainingProgram,
        Value,
    )


class WeightedSamplerNoop(Rule):
    """The weighted sampler draws every example exactly once.

    ## What it does
    Reports `WeightedRandomSampler(..., replacement=False)` that draws as many examples as there
    are.

    ## Why it hurts
    Drawing everything without replacement is a permutation: the weights change the order and
    nothing else, and the classes stay as unbalanced as they were.

    ## Example
        import torch
        from torch import nn

        from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

        data = TensorDataset(torch.randn(512, 8), torch.randint(0, 2, (512,)))
        weights = torch.rand(512)
        sampler = WeightedRandomSampler(weights, 512, replacement=False)
        loader = DataLoader(data, batch_size=64, sampler=sampler)

    ## Use instead
        import torch
        from torch import nn

        from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

        data = TensorDataset(torch.randn(512, 8), torch.randint(0, 2, (512,)))
        weights = torch.rand(512)
        sampler = WeightedRandomSampler(weights, 512, replacement=True)
        loader = DataLoader(data, batch_size=64, sampler=sampler)

    ## When it is fine
    Fewer draws than examples.

    ## Measured
    Not measured.

    ## References
    - PyTorch, `torch.utils.data.WeightedRandomSampler`
    """

    code, slug, severity = "DAT013", "weighted-sampler-noop", Severity.ERROR
    fix = Applicability.UNSAFE
    unmeasured_because = "the probe sees batches, not how they were put together"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per sampler."""
        graph = FlowGraph(program)
        reported: set[Location] = set()
        for sampler in program.objects:
            if sampler.cls != "torch.utils.data.WeightedRandomSampler":
                continue
            replacement, count = sampler.args.get("replacement"), sampler.args.get("num_samples")
            if replacement is None or replacement.constant is not False or count is None:
                continue
            size = _size(graph, sampler.args.get("weights"))
            if size is None or count.number != size:
                continue
            if one_per_place(reported, sampler.location):
                yield self.finding(
                    replacement.location or sampler.location,
                    "without replacement every example is drawn exactly once: the weights have no "
                    "effect",
                    help="use `replacement=True`",
                    fix=self.repair(
                        "draw with replacement",
                        edits.set_literal(program, sampler, replacement, "True"),
                    ),
                    evidence=(Evidence("static", "replacement=False, as many draws as examples"),),
                )


def _size(graph: FlowGraph, weights: Value | None) -> float | None:
    """How many weights there are, when they are written out or made by a function of a size."""
    if weights is None:
        return None
    if weights.items is not None:
        return len(weights.items)
    made = graph.agreed_origin(weights.flow, frozenset({"<constant>"}))
    size = made.args.get("0") if made is not None and "1" not in made.args else None
    return size.number if size is not None else None
