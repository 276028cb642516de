"""LOP018: every step trains on the first batch of a new iterator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Confidence, Finding, Severity
from convlint.predictions import Prediction
from convlint.program.facts import EventKind, ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns.figures import measured_evidence
from convlint.rules.patterns.flows import JOIN, FlowGraph, one_per_place
from convlint.rules.patterns.ownership import name_of, object_of
from convlint.rules.patterns.places import first_place, place_to_location
from convlint.rules.patterns.training_loops import training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.gpu_probes.observations import Observations
    from convlint.program.facts import Flow, Object, TrainingProgram

FEWEST_PAIRS = 3
"""Equal pairs of batches: two may be equal by chance in a tiny data set."""

_FULL_BATCH = "full batch"


class ConstantBatches(Rule):
    """Every step trains on the first batch of a new iterator.

    ## What it does
    Reports a training loop whose batches come from `next(iter(loader))` inside the loop.

    ## Why it hurts
    A new iterator begins at the beginning. Without shuffling every step sees the same batch and
    the rest of the data set is never used; with shuffling each step pays for a new iterator
    (and new workers) to draw one batch.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        loader = DataLoader(data, batch_size=32)
        for step in range(100):
            x, y = next(iter(loader))
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
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
                optimizer.step()

    ## When it is fine
    Overfitting one batch on purpose under a flag that says so, iterators made before the loop,
    `itertools.cycle`: none is reported. With a loader that shuffles it is random sampling, and
    only noted.

    ## Measured
    `convlint probe` confirms it when the batches it held are equal, all of them. Handing the very
    same tensor to every step is training on the full batch, and not judged.

    ## References
    - Karpathy, "A Recipe for Training Neural Networks", 2019
    - PyTorch documentation, `torch.utils.data.DataLoader`
    """

    code = "LOP018"
    slug = "constant-batches"
    prediction = Prediction("identical pairs", "at least", FEWEST_PAIRS)
    severity = Severity.ERROR
    measurements = ("batches",)

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report first batches of new iterators behind a back-propagated loss."""
        graph: FlowGraph | None = None
        places: set[Location] = set()
        for loop in training_loops(program):
            for backward in loop.of_kind(EventKind.BACKWARD):
                graph = graph or FlowGraph(program)
                if any(w in c.text.lower() for c in backward.conditions for w in _DELIBERATE):
                    continue
                for flow in graph.ancestors(backward.event.flow):
                    if flow.op != "<batch>" or flow.name != "next(iter)" or flow.location is None:
                        continue
                    loader = object_of(program, flow.source)
                    if _one_of_several(graph, flow):
                        continue
                    if loader is None or not one_per_place(places, flow.location):
                        continue
                    yield self._judge(loader, flow.location)

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """Report held batches that all hold the same data."""
        batches = seen.batches
        if batches is None or _FULL_BATCH in seen.recognised or batches.compared < FEWEST_PAIRS:
            return
        if batches.identical < batches.compared:
            return
        yield self.finding(
            place_to_location(first_place(use.place for use in seen.optimizers), seen),
            f"all {batches.count} batches looked at hold the same data",
            help="draw a new batch for every step: iterate over the loader",
            # On its own it may be a deliberate attempt to overfit one batch.
            severity=Severity.WARNING,
            evidence=measured_evidence(
                "pairs of held batches that are equal",
                quantity="identical pairs",
                value=batches.identical,
                expected="0",
            ),
        )

    def reading(self, seen: Observations) -> str | None:
        """How many pairs of the held batches are equal."""
        batches = seen.batches
        if batches is None or _FULL_BATCH in seen.recognised or batches.compared < FEWEST_PAIRS:
            return None
        return f"{batches.identical} of {batches.compared} pairs of held batches are equal"

    def _judge(self, loader: Object, place: Location) -> Finding:
        name = name_of(loader, "the loader")
        if any(word in name.lower() for word in _ENDLESS) or _shuffles(loader) is None:
            return self.finding(
                place,
                f"every iteration makes a new iterator over `{name}` to take one batch; if it does "
                "not shuffle, that is always the same batch",
                help="make the iterator once, before the loop",
                severity=Severity.INFO,
                confidence=Confidence.MEDIUM,
            )
        if _shuffles(loader):
            return self.finding(
                place,
                f"every iteration makes a new iterator over `{name}` to take one random batch",
                help="iterate over the loader, or make the iterator once before the loop",
                severity=Severity.INFO,
            )
        return self.finding(
            place,
            f"`{name}` does not shuffle, so its new iterator gives the same first batch in every "
            "iteration",
            help="iterate over the loader, or make the iterator once before the loop",
        )


_DELIBERATE = ("overfit", "debug", "one_batch", "single_batch", "sanity")
_ENDLESS = ("infinite", "endless", "cycle")


def _one_of_several(graph: FlowGraph, batch: Flow) -> bool:
    """Whether a test decides between this batch and another, as a flag to overfit one does."""
    parts = (batch, *(user for user in graph.users(batch) if user.op == "<batch>"))
    return any(user.op == JOIN for part in parts for user in graph.users(part))


def _shuffles(loader: Object) -> bool | None:
    """Whether a loader draws in random order; None when that is not known."""
    if loader.kind is not ObjectKind.LOADER or loader.cls != "torch.utils.data.DataLoader":
        return None
    if any(name in loader.args for name in ("sampler", "batch_sampler", "**")):
        return None
    shuffle = loader.args.get("shuffle")
    if shuffle is None:
        return False
    return bool(shuffle.constant) if shuffle.known else None
