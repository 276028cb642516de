"""OPT018: LBFGS on mini-batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Confidence, Finding, Related, Severity
from convlint.program.facts import ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.ownership import object_of
from convlint.rules.patterns.paths import occurrences
from convlint.rules.patterns.training_loops import STEPS, all_loops, stepped_optimizer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram


class LbfgsMinibatch(Rule):
    """LBFGS is stepped on mini-batches.

    ## What it does
    Reports `torch.optim.LBFGS` stepped inside a loop over a loader with several batches.

    ## Why it hurts
    LBFGS builds its picture of the curvature from differences of gradients of one and the same
    function. Between batches the function changes, the differences are noise, and steps along them
    diverge.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Linear(8, 2)
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.LBFGS(model.parameters())
        for epoch in range(10):
            for x, y in loader:

                def closure():
                    optimizer.zero_grad()
                    loss = criterion(model(x), y)
                    loss.backward()
                    return loss

                optimizer.step(closure)

    ## Use instead
        import torch
        from torch import nn

        x, y = torch.randn(256, 8), torch.randint(0, 2, (256,))
        model = nn.Linear(8, 2)
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.LBFGS(model.parameters(), line_search_fn="strong_wolfe")


        def closure():
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            return loss


        for epoch in range(10):
            optimizer.step(closure)

    There is no automatic fix: `line_search_fn="strong_wolfe"` keeps each step sound for its own
    batch, but the next batch is still another function. Only the whole data set, or another
    optimizer, takes the fault away.

    ## When it is fine
    The whole data set as one batch (style transfer, physics-informed networks).

    ## Measured
    Not measured directly; the loss series of the probe shows the consequence.

    ## References
    - Nocedal and Wright, Numerical optimization, 2006, chapter 7
    - PyTorch, `torch.optim.LBFGS`
    """

    code, slug, severity = "OPT018", "lbfgs-minibatch", Severity.WARNING
    confidence = Confidence.MEDIUM

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report LBFGS inside loops over loaders."""
        places: set[Location] = set()
        for _, nest in all_loops(program):
            loop = nest[-1]
            source = object_of(program, loop.over.object)
            if source is None or source.kind is not ObjectKind.LOADER or loop.trips.number == 1:
                continue
            size = source.args.get("batch_size")
            if source.symbolic or size is None or (size.known and size.number is None):
                continue  # no batches, or not known to be
            for o in occurrences(loop.body):
                optimizer = (
                    object_of(program, stepped_optimizer(o.event)) if o.kind in STEPS else None
                )
                if optimizer is None or optimizer.cls != "torch.optim.LBFGS":
                    continue
                if one_per_place(places, o.event.location):
                    yield self.finding(
                        o.event.location,
                        "LBFGS steps on mini-batches: its picture of the curvature mixes different "
                        "functions",
                        help="step on the whole data set, or use Adam",
                        related=(Related(optimizer.location, "the optimizer"),),
                    )
